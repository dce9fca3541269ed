"""A batch of a million files without its network: plan, what is left after a kill, union, reports.

python -m tests.bench.scale FOLDER [FILES] writes FOLDER/scale.json. The files are hard links to a
few small images in folders of 1,000; a record with its result stands for each that a network would
have worked on. Each step runs in a process of its own, whose peak memory is its own.
"""

import json
import os
import sys
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, time

import numpy as np

from bgexp.batch.dispatch import PartsWork
from bgexp.batch.engine import make_engine
from bgexp.batch.file_task import make_record
from bgexp.batch.journal import Closing, Identity, Journal, Origin
from bgexp.batch.output_folder import open_lock, resolve_places
from bgexp.batch.part import find_open_parts
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.prepare import prepare_plan
from bgexp.config.batch import BatchSettings
from bgexp.config.load import load_settings
from bgexp.images.png import encode_png
from bgexp.system.peak_memory import read_peak_memory
from bgexp.system.signals import StopRequest

FILES = 1_000_000
EACH = 1_000  # files in a folder
TWINS = 30_000  # files that are links to one: each gets a second for its result, of 65,000 at most
DEVICE = {"requested": "cpu", "used": "cpu", "name": "none"}
ORIGIN = Origin(
    Identity("settings", "weights", "none"), {"input": "", "weights": "weights"}, DEVICE
)


def make_input(folder: Path, n_files: int) -> None:
    """Write images of two sizes, and the links to them."""
    rng = np.random.default_rng(0)
    for number in range(n_files):
        if number % TWINS == 0:
            side = 40 + number // TWINS
            original = folder.parent / f"original-{number}.png"
            original.write_bytes(encode_png(rng.integers(0, 9, (side, side, 3), np.uint8)))
        place = folder / f"{number // EACH:05}"
        if number % EACH == 0:
            place.mkdir(parents=True)
        os.link(original, place / f"IMG_{number:07}.png")


def plan(settings: BatchSettings) -> PlannedBatch:
    """Plan the batch, or find the plan that is there still the input's."""
    source, output = resolve_places(settings)
    with open_lock(output, StopRequest()) as lock:
        lock.hold_alone()
        engine, stop = make_engine(settings, output), StopRequest()
        return PlannedBatch(settings, prepare_plan(settings, source, output, ORIGIN, engine, stop))


def finish(settings: BatchSettings) -> None:
    """Stand in for the network: each image has its result, and its record; one part has not."""
    batch, folder = plan(settings), Path(settings.output)
    times = {"load": 3.0, "detect": 100.0, "combine": 1.0, "encode": 9.0, "write": 2.0}
    for number in range(batch.folder.plan.n_parts - 1):
        records = []
        for file in batch.folder.read_part(number):
            result = folder / file.output
            result.parent.mkdir(parents=True, exist_ok=True)
            if not result.exists():
                os.link(file.file, result)
            record = make_record(file, ORIGIN.identity).__dict__ | {
                "output": file.output,
                "input_sha256": "0" * 64,
                "output_sha256": "1" * 64,
                "coverage": 0.3,
                "confidence": 0.9,
                "timings_ms": times,
            }
            records.append(type(make_record(file, ORIGIN.identity))(**record))
        Journal(batch.output, batch.folder.get_journal(number), records).add(
            Closing(len(records), time(), time())
        )


def decide(settings: BatchSettings) -> None:
    """Find what is left after a kill."""
    assert len(find_open_parts(plan(settings))) == 1


def close_last(settings: BatchSettings) -> None:
    """Finish the part that was left."""
    batch = plan(settings)
    number = batch.folder.plan.n_parts - 1
    records = [make_record(file, ORIGIN.identity) for file in batch.folder.read_part(number)]
    Journal(batch.output, batch.folder.get_journal(number), records).add(
        Closing(len(records), time(), time())
    )


def unite(settings: BatchSettings) -> None:
    """Write manifest, summary and page."""
    from datetime import UTC, datetime

    from bgexp.batch.artifacts import write_reports
    from bgexp.batch.unite import unite_parts

    batch = plan(settings)
    unite_parts(batch)
    write_reports(batch, PartsWork(0), datetime.now(UTC), 1.0)


def measure(step, settings) -> dict[str, float]:
    """Return seconds and peak memory of a step, in a process of its own."""

    def run(pipe) -> None:
        start = perf_counter()
        step(settings)
        pipe.send((perf_counter() - start, read_peak_memory()))

    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs,))
    process.start()
    theirs.close()
    seconds, memory = ours.recv()
    process.join()
    return {"seconds": round(seconds, 1), "peak_mb": round(memory / 1e6)}


def main(folder: Path, n_files: int = FILES) -> None:
    """Measure every step, and write what was measured."""
    if not (folder / "in").exists():
        make_input(folder / "in", n_files)
    names = [f"input={folder / 'in'}", f"output={folder / 'out'}", "device=cpu"]
    settings = load_settings("batch", names)
    results = {}
    for step in (plan, finish, decide, close_last, unite):
        results[step.__name__] = measure(step, settings)
        print(step.__name__, results[step.__name__], flush=True)
    state = sum(path.stat().st_size for path in (folder / "out/.bgexp").rglob("*"))
    sizes = {
        name: (folder / "out" / name).stat().st_size
        for name in ("manifest.parquet", "manifest.csv", "report.html")
    }
    results["bytes"] = {"state": state, **sizes}
    (folder / "scale.json").write_text(json.dumps({"files": n_files, **results}, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
