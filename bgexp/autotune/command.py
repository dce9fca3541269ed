"""Measured candidates to a config: arithmetic, then the input's size, then the workers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bgexp.autotune.candidates import REFERENCE, Changes, arithmetics, smaller
from bgexp.autotune.measure import Measurement, measure, readable, throughput
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.check import flattened
from bgexp.datasets.read import Item, read_dataset
from bgexp.detect.device import Device, device_name, pick_device
from bgexp.system.atomic import write_json, write_whole
from bgexp.system.cores import available_cores, threads_each
from bgexp.system.provenance import bgexp_state
from bgexp.tracking.active_run import tracked_run

CONFIG = Path("experiment") / "tuned.yaml"
ENOUGH = 1.05  # what is to be worth a change, or more memory, has to be so many times as fast


@dataclass(frozen=True)
class Tuning:
    """What was measured and what is best.

    Attributes:
        device: Its name.
        images: How many were measured on.
        candidates: All that was tried, the reference first.
        best: The fastest that loses no more than the tolerance, also at worst.
        images_per_s: Of the best one, by number of workers, which share the cores.
        workers: How many are best.
    """

    device: str
    images: int
    candidates: list[Measurement]
    best: Measurement
    images_per_s: dict[int, float]
    workers: int


def autotune(settings: AutotuneSettings, folder: Path) -> Tuning:
    """Measures, and writes autotune.json and a config for --config-dir into the folder.

    Raises:
        UserError: Weights or images are missing, or the device is not there.
    """
    device = pick_device(settings.device)
    dataset = read_dataset(settings.dataset, settings.seed)
    items = readable(settings, dataset.items)
    name = f"autotune {settings.detector.name}"
    with tracked_run(settings, "autotune", name, folder) as run:
        run.log_params(flattened(settings))
        run.set_tags({f"bgexp.{key}": str(value) for key, value in bgexp_state().items()})
        run.log_dataset(dataset.name, dataset.digest, str(dataset.root), len(items))
        tuning = _measured(settings, device, items)
        write_json(folder / "autotune.json", asdict(tuning))
        write_whole(folder / CONFIG, tuned_config(settings, tuning).encode())
        run.log_metrics(numbers(tuning))
        run.log_folder(folder)
    return tuning


def _measured(settings: AutotuneSettings, device: Device, items: Sequence[Item]) -> Tuning:
    found = measure(settings, items, arithmetics(device))
    best = fastest(found, settings.tolerance)
    sizes = [{**best.changes, **size} for size in smaller(settings.detector)]
    again = measure(settings, items, [REFERENCE, best.changes, *sizes])
    found = [again[1] if one.changes == best.changes else one for one in found] + again[2:]
    best = fastest(again[1:], settings.tolerance)
    counts = shares(available_cores())
    speeds = {count: throughput(settings, items, best.changes, count) for count in counts}
    fewest = fewest_of_the_fastest(speeds)
    return Tuning(device_name(device), len(items), found, best, speeds, fewest)


def shares(cores: int) -> list[int]:
    """Numbers of workers that are tried: one, and a quarter, half and all of the cores."""
    return sorted({1, *(max(1, cores // part) for part in (4, 2, 1))})


def numbers(tuning: Tuning) -> dict[str, float]:
    """What the tracking store shows: the best one's, and each candidate's time and masks."""
    best = {"ms": tuning.best.ms, "times_as_fast": tuning.best.times_as_fast}
    best |= {"loss": tuning.best.loss, "at_worst": tuning.best.at_worst}
    found = {f"best.{key}": value for key, value in best.items()}
    found |= {"workers": tuning.workers}
    found |= {f"images_per_s.workers_{n}": speed for n, speed in tuning.images_per_s.items()}
    for one in tuning.candidates:
        name = "_".join(map(str, one.changes.values()))
        found |= {
            f"ms.{name}": one.ms,
            f"agreement.{name}": one.agreement,
            f"loss.{name}": one.loss,
        }
    return found


def fastest(candidates: Sequence[Measurement], tolerance: float) -> Measurement:
    """The fastest candidate that loses no more than the tolerance; else the first.

    One that comes before it is taken where it is as fast but for what is noise.
    """
    good = [one for one in candidates if one.at_worst <= tolerance] or candidates[:1]
    enough = ENOUGH * min(one.ms for one in good)
    return next(one for one in good if one.ms <= enough)


def fewest_of_the_fastest(speeds: dict[int, float]) -> int:
    """The number of workers that is best, fewer of them where more gain nearly nothing."""
    enough = max(speeds.values()) / ENOUGH
    return min(count for count, speed in speeds.items() if speed >= enough)


def tuned_config(settings: AutotuneSettings, tuning: Tuning) -> str:
    """The best settings as a config of the group `experiment`."""
    name, best = settings.detector.name, tuning.best
    values: dict[str, Any] = {
        "defaults": [{"override /detector": name}],
        "detector": best.changes,
    }
    if tuning.workers != available_cores():
        values["workers"] = tuning.workers
    return (
        "# @package _global_\n"
        f"# By bgexp autotune on {tuning.device}: {best.ms:.0f} ms an image on one thread, "
        f"{best.loss:.4f} IoU lost on {tuning.images} images.\n"
        f"{yaml.safe_dump(values, sort_keys=False)}"
    )


def show_tuning(tuning: Tuning, settings: AutotuneSettings, folder: Path) -> None:
    """Prints what was measured and what to type next."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("detector", no_wrap=True)
    for column in ("ms on\n1 thread", "times\nas fast", "IoU with\nfp32", "IoU", "IoU lost", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for one in tuning.candidates:
        verdict = "best" if one.changes == tuning.best.changes else ""
        if one.at_worst > settings.tolerance:
            verdict = f"over {settings.tolerance:g}"
        scores = f"{one.agreement:.4f}", f"{one.iou:.4f}"
        lost = f"{one.loss:+.4f} ± {one.at_worst - one.loss:.4f}"
        timed = f"{one.ms:.0f}", f"{one.times_as_fast:.2f}"
        table.add_row(_said(one.changes), *timed, *scores, lost, verdict)
    Console().print(table)
    for count, speed in tuning.images_per_s.items():
        threads = threads_each(count)
        each = f"{threads} thread{'s' * (threads > 1)}"
        print(f"{speed:.2f} images/s by {count} process{'es' * (count > 1)} of {each}")
    print(f"Config:  {folder / CONFIG}")
    print(f"Use it:  bgexp run --config-dir {folder} experiment=tuned")
    print(f"         bgexp batch --config-dir {folder} experiment=tuned input=DIR output=DIR")


def _said(changes: Changes) -> str:
    return " ".join(map(str, changes.values()))
