"""Measured candidates to a config: arithmetic first, then input size, then workers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bgexp.autotune.candidates import REFERENCE, Changes, list_arithmetics, list_smaller_inputs
from bgexp.autotune.measure import (
    Measurement,
    load_truths,
    measure,
    measure_throughput,
    select_decodable,
)
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.check import flatten_settings
from bgexp.config.command_line import write_command
from bgexp.datasets.read import Item, read_dataset
from bgexp.detect.build import build_detector
from bgexp.detect.device import Device, get_device_name, pick_device
from bgexp.experiment.check_truths import warn_of_truths
from bgexp.system.atomic import write_json, write_whole
from bgexp.system.cores import count_available_cores, count_threads_each
from bgexp.system.provenance import describe_bgexp
from bgexp.tracking.active_run import open_run

CONFIG = Path("experiment") / "tuned.yaml"
ENOUGH = 1.05  # a change, or more memory, has to be worth at least this factor of speed


@dataclass(frozen=True)
class Tuning:
    """The measurements and the best settings.

    Attributes:
        device: The device's name.
        images: Number of images measured on.
        candidates: All measured candidates, the reference first.
        best: The fastest that loses no more than the tolerance, also at worst.
        images_per_s: Throughput of the best, by number of workers, which share the cores.
        workers: The best number of workers.
    """

    device: str
    images: int
    candidates: list[Measurement]
    best: Measurement
    images_per_s: dict[int, float]
    workers: int


def autotune(settings: AutotuneSettings, folder: Path) -> Tuning:
    """Measure candidates; write autotune.json and a config for --config-dir into the folder.

    Raises:
        UserError: Weights or images are missing, or the device is not there.
    """
    device = pick_device(settings.device)
    dataset = read_dataset(settings.dataset, settings.seed)
    items = select_decodable(settings, dataset.items)
    if dataset.name in ("pairs", "coco"):
        warn_of_truths(
            dataset, load_truths(settings, items), build_detector(settings.detector, device)
        )
    name = f"autotune {settings.detector.name}"
    with open_run(settings, "autotune", name, folder) as run:
        run.log_params(flatten_settings(settings))
        run.set_tags({f"bgexp.{key}": str(value) for key, value in describe_bgexp().items()})
        run.log_dataset(dataset.name, dataset.digest, str(dataset.root), len(items))
        tuning = _measure_candidates(settings, device, items)
        write_json(folder / "autotune.json", asdict(tuning))
        write_whole(folder / CONFIG, format_config(settings, tuning).encode())
        run.log_metrics(collect_metrics(tuning))
        run.log_folder(folder)
    return tuning


def _measure_candidates(
    settings: AutotuneSettings, device: Device, items: Sequence[Item]
) -> Tuning:
    candidates = measure(settings, items, list_arithmetics(device))
    best = choose_fastest(candidates, settings.tolerance)
    sizes = [{**best.changes, **size} for size in list_smaller_inputs(settings.detector)]
    remeasured = measure(settings, items, [REFERENCE, best.changes, *sizes])
    candidates = [
        remeasured[1] if candidate.changes == best.changes else candidate
        for candidate in candidates
    ] + remeasured[2:]
    best = choose_fastest(remeasured[1:], settings.tolerance)
    counts = list_worker_counts(count_available_cores())
    speeds = {count: measure_throughput(settings, items, best.changes, count) for count in counts}
    fewest = choose_worker_count(speeds)
    return Tuning(get_device_name(device), len(items), candidates, best, speeds, fewest)


def list_worker_counts(cores: int) -> list[int]:
    """Return the numbers of workers to try: one, and a quarter, half and all of the cores."""
    return sorted({1, *(max(1, cores // part) for part in (4, 2, 1))})


def collect_metrics(tuning: Tuning) -> dict[str, float]:
    """Return the metrics for the tracking store: the best, then each candidate's time and masks."""
    best = {"ms": tuning.best.ms, "times_as_fast": tuning.best.times_as_fast}
    best |= {"loss": tuning.best.loss, "at_worst": tuning.best.at_worst}
    metrics = {f"best.{key}": value for key, value in best.items()}
    metrics |= {"workers": tuning.workers}
    metrics |= {
        f"images_per_s.workers_{workers}": speed for workers, speed in tuning.images_per_s.items()
    }
    for candidate in tuning.candidates:
        name = "_".join(map(str, candidate.changes.values()))
        metrics |= {
            f"ms.{name}": candidate.ms,
            f"agreement.{name}": candidate.agreement,
            f"loss.{name}": candidate.loss,
        }
    return metrics


def choose_fastest(candidates: Sequence[Measurement], tolerance: float) -> Measurement:
    """Return the fastest candidate that loses no more than the tolerance; else the first.

    An earlier candidate that is as fast within the noise is preferred.
    """
    acceptable = [
        candidate for candidate in candidates if candidate.at_worst <= tolerance
    ] or candidates[:1]
    slowest = ENOUGH * min(candidate.ms for candidate in acceptable)
    return next(candidate for candidate in acceptable if candidate.ms <= slowest)


def choose_worker_count(speeds: dict[int, float]) -> int:
    """Return the best number of workers, fewer where more gain nearly nothing."""
    enough = max(speeds.values()) / ENOUGH
    return min(count for count, speed in speeds.items() if speed >= enough)


def format_config(settings: AutotuneSettings, tuning: Tuning) -> str:
    """Return the best settings as a config of the group `experiment`."""
    name, best = settings.detector.name, tuning.best
    values: dict[str, Any] = {
        "defaults": [{"override /detector": name}],
        "detector": best.changes,
    }
    if tuning.workers != count_available_cores():
        values["workers"] = tuning.workers
    return (
        "# @package _global_\n"
        f"# By bgexp autotune on {tuning.device}: {best.ms:.0f} ms an image on one thread, "
        f"{best.loss:.4f} IoU lost on {tuning.images} images.\n"
        f"{yaml.safe_dump(values, sort_keys=False)}"
    )


def show_tuning(tuning: Tuning, settings: AutotuneSettings, folder: Path) -> None:
    """Print what was measured and what to type next."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("detector", no_wrap=True)
    for column in ("ms on\n1 thread", "times\nas fast", "IoU with\nfp32", "IoU", "IoU lost", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for candidate in tuning.candidates:
        verdict = "best" if candidate.changes == tuning.best.changes else ""
        if candidate.at_worst > settings.tolerance:
            verdict = f"over {settings.tolerance:g}"
        scores = f"{candidate.agreement:.4f}", f"{candidate.iou:.4f}"
        loss = f"{candidate.loss:+.4f} ± {candidate.at_worst - candidate.loss:.4f}"
        times = f"{candidate.ms:.0f}", f"{candidate.times_as_fast:.2f}"
        table.add_row(_describe_changes(candidate.changes), *times, *scores, loss, verdict)
    Console().print(table)
    for count, speed in tuning.images_per_s.items():
        threads = count_threads_each(count)
        each = f"{threads} thread{'s' * (threads > 1)}"
        print(f"{speed:.2f} images/s by {count} process{'es' * (count > 1)} of {each}")
    print(f"Config:  {folder / CONFIG}")
    use = write_command("run", ["experiment=tuned"], settings, folder)
    batch = ["experiment=tuned", "input=DIR", "output=DIR"]
    print(f"Use it:  {use}")
    print(f"         {write_command('batch', batch, settings, folder)}")


def _describe_changes(changes: Changes) -> str:
    return " ".join(map(str, changes.values()))
