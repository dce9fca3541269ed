"""One tracked experiment: a dataset through the pipeline to results."""

import json
import logging
import math
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.progress import track

from bgexp import samples
from bgexp.config import RunSettings, flattened
from bgexp.dataset import Dataset, Item, read_dataset
from bgexp.detect import Detector, build_detector, find_weights
from bgexp.detect.weights import Weights
from bgexp.device import device_name, pick_device
from bgexp.environment import bgexp_state, package_versions, peak_memory, reset_peak_memory
from bgexp.errors import Interrupted
from bgexp.files import TEMPORARY, sha256_bytes, write_whole
from bgexp.images import ImageError, decode_mask, encode_mask, encode_png, load_image, read_bytes
from bgexp.images import thumbnail as small
from bgexp.metrics import evaluate_performance, mask_checks
from bgexp.pipeline import Removed, remove_background
from bgexp.results import (
    Row,
    Summary,
    by_category,
    counted,
    numbers,
    run_status,
    summarised,
    timings,
    write_rows,
)
from bgexp.tracking import Run, find_finished, tracked_run

log = logging.getLogger(__name__)

TABLE_IMAGES, TABLE_PIXELS = 100, 200  # rows with pictures in the tracked table; their longer side
# Settings that cannot change a result; where the data lie is no part of what they are.
NOT_IDENTITY = {
    "tracking": True,
    "runs": True,
    "force": True,
    "device": True,
    "max_failed": True,
    "dataset": {"root", "images", "masks"},
}


@dataclass(frozen=True)
class Prepared:
    """Settings that were checked against the machine: data and weights are there."""

    settings: RunSettings
    device: torch.device
    dataset: Dataset
    weights: Weights

    @property
    def identity(self) -> str:
        """SHA-256 over everything that can change the result."""
        parts = {
            "settings": self.settings.model_dump(mode="json", exclude=NOT_IDENTITY),
            "dataset": self.dataset.digest,
            "weights": self.weights.sha256,
            "sources": bgexp_state()["source_hash"],
            "versions": package_versions(),
            "device": device_name(self.device),
        }
        return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def prepare(settings: RunSettings) -> Prepared:
    """Looks for device, data and weights.

    Raises:
        UserError: one of them is missing.
    """
    device = pick_device(settings.device)
    dataset = read_dataset(settings.dataset, settings.seed)
    return Prepared(settings, device, dataset, find_weights(settings.detector))


def run_experiment(
    settings: RunSettings, folder: Path, parent_run_id: str | None = None, name: str = ""
) -> Summary:
    """Runs one experiment, or takes over the results of an identical finished one.

    The folder gets config.yaml, summary.json, per_image.parquet, masks.zip and samples/, which
    the tracking store shows as artifacts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    write_whole(folder / "config.yaml", config.encode())
    with tracked_run(settings, name or _run_name(settings), folder, parent_run_id) as run:
        prepared = prepare(settings)
        _log_setup(run, prepared)
        earlier = None if settings.force else find_finished(settings, prepared.identity)
        if earlier is not None:
            return _reuse(run, folder, *earlier, parent_run_id)
        return _compute(run, prepared, folder, parent_run_id)


def _run_name(settings: RunSettings) -> str:
    threshold = f"{settings.detector.score_threshold:g}"
    return f"{settings.dataset.name} {settings.detector.name}>{threshold} {settings.refine.name}"


def _log_setup(run: Run, prepared: Prepared) -> None:
    settings, state = prepared.settings, bgexp_state()
    run.log_params(flattened(settings))
    run.set_tags(
        {f"bgexp.{key}": str(value) for key, value in state.items()}
        | {f"version.{name}": found for name, found in package_versions().items()}
        | {
            "bgexp.identity": prepared.identity,
            "bgexp.weights_sha256": prepared.weights.sha256,
            "bgexp.device_requested": settings.device,
            "bgexp.device_used": device_name(prepared.device),
        }
    )
    data = prepared.dataset
    run.log_dataset(data.name, data.digest, str(data.root), len(data.items))


def _reuse(run: Run, folder: Path, run_id: str, source: Path, parent_run_id: str | None) -> Summary:
    log.info("the same as finished run %s: its results are taken (force=true computes)", run_id)
    run.copy_artifacts(run_id)
    stored = json.loads((source / "summary.json").read_text())
    summary = Summary(**stored).renamed(run.run_id, parent_run_id, run_id)
    for path in (p for p in source.rglob("*") if p.is_file()):
        target = folder / path.relative_to(source)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    summary.write(folder / "summary.json")
    run.log_folder(folder)
    run.set_tags({"bgexp.reused_from": run_id})
    run.log_metrics(numbers(summary))
    return summary


def _compute(run: Run, prepared: Prepared, folder: Path, parent_run_id: str | None) -> Summary:
    settings, dataset = prepared.settings, prepared.dataset
    reset_peak_memory()
    detector = build_detector(settings.detector, prepared.device)
    pictures = _Pictures()
    rows: list[Row] = []
    stopped: Interrupted | None = None
    started = perf_counter()
    try:
        with _mask_archive(folder / "masks.zip") as archive:
            for item in _shown(dataset.items):
                row, removed = process(item, detector, settings)
                if removed is not None:
                    archive.writestr(zipfile.ZipInfo(f"{item.path}.png"), encode_mask(removed.mask))
                    pictures.add(item, removed)
                else:
                    log.warning("%s: %s", item.path, row.reason)
                rows.append(row)
    except Interrupted as signal:
        stopped = signal
    seconds = perf_counter() - started
    counts = counted(rows, len(dataset.items))
    summary = Summary(
        command="run",
        status=run_status(counts, settings.max_failed),
        run_id=run.run_id,
        parent_run_id=parent_run_id,
        reused_from=None,
        identity=prepared.identity,
        bgexp=bgexp_state(),
        versions=package_versions(),
        device={
            "requested": settings.device,
            "used": prepared.device.type,
            "name": device_name(prepared.device),
        },
        weights={"name": prepared.weights.name, "sha256": prepared.weights.sha256},
        dataset={
            "name": dataset.name,
            "root": str(dataset.root),
            "digest": dataset.digest,
            "n_images": len(dataset.items),
            "n_with_truth": dataset.n_with_truth,
            "n_population": dataset.n_population,
        },
        counts=counts,
        metrics=summarised(rows, "metrics"),
        checks=summarised(rows, "checks"),
        categories=by_category(rows),
        timings=timings(rows),
        images_per_s=len(rows) / seconds,
        peak_rss_bytes=peak_memory(),
        error="" if stopped is None else str(stopped),
    )
    write_rows(rows, folder / "per_image.parquet")
    summary.write(folder / "summary.json")
    run.log_metrics(numbers(summary))
    if stopped is None:
        _draw_samples(rows, dataset, settings, folder)
        run.log_table(pictures.table(rows), "per_image.json")
    run.log_folder(folder)
    run.failed = summary.status == "failed"
    if stopped is not None:
        raise stopped
    return summary


def process(item: Item, detector: Detector, settings: RunSettings) -> tuple[Row, Removed | None]:
    """One image to its row; whatever is wrong with it becomes the row's reason."""
    named = {"path": item.path, "category": item.category, "sha256": item.sha256}
    started = perf_counter()
    try:
        image = load_image(item.file, settings.dataset.max_megapixels)
        loading = 1000 * (perf_counter() - started)
        truth = _truth(item, image)
        removed = remove_background(
            image, detector, settings.combine, settings.refine, settings.cutout, settings.seed
        )
    except ImageError as error:
        return Row(**named, status="failed", reason=str(error)), None
    except Exception as error:
        log.debug("%s", item.path, exc_info=True)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Row(**named, status="failed", reason=reason), None
    row = Row(
        **named,
        status="ok",
        width=image.shape[1],
        height=image.shape[0],
        metrics={} if truth is None else evaluate_performance(removed.mask, truth),
        checks=mask_checks(removed.mask, removed.unrefined, removed.scores),
        fallback=removed.fallback,
        timings_ms={"load": loading, **removed.timings_ms},
    )
    return row, removed


def _truth(item: Item, image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    if item.mask is None:
        return None
    try:
        truth = decode_mask(read_bytes(item.mask))
    except ImageError as error:
        raise ImageError(f"its mask: {error}") from error
    if truth.shape != image.shape[:2]:
        (h, w), (height, width) = truth.shape, image.shape[:2]
        raise ImageError(f"its mask has {w}x{h} pixels, the upright image {width}x{height}")
    return truth


def _shown(items: tuple[Item, ...]) -> Iterator[Item]:
    """The items with a progress bar on a terminal, plain lines elsewhere."""
    if sys.stdout.isatty():
        yield from track(items, description="images")
        return
    for number, item in enumerate(items, 1):
        yield item
        if number * 4 // len(items) > (number - 1) * 4 // len(items):
            log.info("%d of %d images", number, len(items))


class _Pictures:
    """Small pictures of the first images, for the tracked table."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    def add(self, item: Item, removed: Removed) -> None:
        if len(self._found) < TABLE_IMAGES:
            mask = removed.mask.astype(np.uint8) * np.uint8(255)
            pair = small(removed.cutout[..., :3], TABLE_PIXELS), small(mask, TABLE_PIXELS)
            self._found[item.path] = pair

    def table(self, rows: list[Row]) -> dict[str, list[object]]:
        """Columns: the row's, and cut-out and mask as pictures."""
        shown = [row for row in rows if row.path in self._found]
        columns: dict[str, list[object]] = {
            "path": [row.path for row in shown],
            "cutout": [self._found[row.path][0] for row in shown],
            "mask": [self._found[row.path][1] for row in shown],
        }
        for key in ("iou", "boundary_iou", "foreground_recall", "background_leakage"):
            columns[key] = [round(row.metrics.get(key, math.nan), 4) for row in shown]
        for key in ("coverage", "parts", "confidence"):
            columns[key] = [round(row.checks.get(key, math.nan), 4) for row in shown]
        return columns


@contextmanager
def _mask_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive of masks; it takes its name when it is complete, interrupted or not."""
    temporary = path.parent / TEMPORARY.replace("*", "masks")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            yield archive
    finally:
        temporary.replace(path)


def _draw_samples(rows: list[Row], dataset: Dataset, settings: RunSettings, folder: Path) -> None:
    """Draws them from the files anew: which images are the worst is known only at the end."""
    items = {item.path: item for item in dataset.items}
    with zipfile.ZipFile(folder / "masks.zip") as archive:
        for number, row in enumerate(samples.choose_samples(rows, settings.samples)):
            item = items[row.path]
            image = load_image(item.file, settings.dataset.max_megapixels)
            mask = decode_mask(archive.read(f"{item.path}.png"))
            picture = samples.draw_sample(image, mask, _truth(item, image))
            name = f"{number + 1:02d}-{Path(item.path).name[:100]}.png"
            write_whole(folder / "samples" / name, encode_png(picture))


def check_ready(jobs: Sequence[RunSettings]) -> None:
    """Looks for all that can be known to be missing before the first job starts.

    Raises:
        UserError: device, data, weights or labels are not there.
    """
    for device in {settings.device for settings in jobs}:
        pick_device(device)
    for dataset, seed in {(settings.dataset, settings.seed) for settings in jobs}:
        read_dataset(dataset, seed)
    # A threshold does not change what is loaded.
    for detector in {s.detector.model_copy(update={"score_threshold": 0.0}) for s in jobs}:
        build_detector(detector, torch.device("cpu"))
