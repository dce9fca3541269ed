"""One tracked experiment: a dataset through the pipeline to results."""

import json
import logging
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import yaml
from rich.progress import track

from bgexp.config import RunSettings, flattened
from bgexp.dataset import Item
from bgexp.detect import Detector, build_detector
from bgexp.device import device_name
from bgexp.environment import bgexp_state, package_versions, peak_memory, reset_peak_memory
from bgexp.errors import Interrupted
from bgexp.files import TEMPORARY, write_whole
from bgexp.images import ImageError, encode_mask
from bgexp.inputs import Prepared, check_ready, load_item, prepare
from bgexp.metrics import evaluate_performance, mask_checks
from bgexp.pictures import Pictures, draw_samples
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

__all__ = ["check_ready", "prepare", "process", "run_experiment"]

log = logging.getLogger(__name__)


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
            return _reuse(run, folder, *earlier, settings)
        return _compute(run, prepared, folder)


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


def _reuse(run: Run, folder: Path, run_id: str, source: Path, settings: RunSettings) -> Summary:
    log.info("the same as finished run %s: its results are taken (force=true computes)", run_id)
    run.copy_artifacts(run_id)
    summary = Summary(**json.loads((source / "summary.json").read_text()))
    summary = replace(
        summary,
        run_id=run.run_id,
        parent_run_id=run.parent_run_id,
        reused_from=run_id,
        status=run_status(summary.counts, settings.max_failed),
    )
    for path in (p for p in source.rglob("*") if p.is_file()):
        target = folder / path.relative_to(source)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(path)
    run.set_tags({"bgexp.reused_from": run_id})
    _record(run, summary, folder)
    return summary


def _compute(run: Run, prepared: Prepared, folder: Path) -> Summary:
    settings, dataset = prepared.settings, prepared.dataset
    reset_peak_memory()
    detector = build_detector(settings.detector, prepared.device)
    pictures = Pictures()
    started = perf_counter()
    rows, stopped = _work_through(prepared, detector, folder, pictures)
    seconds = perf_counter() - started
    counts = counted(rows, len(dataset.items))
    summary = Summary(
        command="run",
        status="interrupted" if stopped else run_status(counts, settings.max_failed),
        run_id=run.run_id,
        parent_run_id=run.parent_run_id,
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
        error=str(stopped or ""),
    )
    write_rows(rows, folder / "per_image.parquet")
    if stopped is None:
        draw_samples(rows, dataset, settings, folder)
        run.log_table(pictures.table(rows), "per_image.json")
    _record(run, summary, folder)
    if stopped is not None:
        raise stopped
    return summary


def _work_through(
    prepared: Prepared, detector: Detector, folder: Path, pictures: Pictures
) -> tuple[list[Row], Interrupted | None]:
    """The images to rows and masks; when it is interrupted, what there is so far."""
    rows: list[Row] = []
    with _mask_archive(folder / "masks.zip") as archive:
        try:
            for item in _shown(prepared.dataset.items):
                row, removed = process(item, detector, prepared.settings)
                if removed is not None:
                    archive.writestr(zipfile.ZipInfo(f"{item.path}.png"), encode_mask(removed.mask))
                    pictures.add(item, removed)
                else:
                    log.warning("%s: %s", item.path, row.reason)
                rows.append(row)
        except Interrupted as signal:
            return rows, signal
    return rows, None


def _record(run: Run, summary: Summary, folder: Path) -> None:
    """The summary comes last: where it lies, all else does."""
    summary.write(folder / "summary.json")
    run.log_metrics(numbers(summary))
    run.log_folder(folder)
    run.failed = summary.status == "failed"


def process(item: Item, detector: Detector, settings: RunSettings) -> tuple[Row, Removed | None]:
    """One image to its row; whatever is wrong with it becomes the row's reason."""
    row = Row(item.path, item.category, item.sha256, "ok")
    started = perf_counter()
    try:
        image, truth = load_item(item, settings.dataset.max_megapixels)
        loading = 1000 * (perf_counter() - started)
        removed = remove_background(
            image, detector, settings.combine, settings.refine, settings.cutout, settings.seed
        )
    except ImageError as error:
        return replace(row, status="failed", reason=str(error)), None
    except Exception as error:
        log.debug("%s", item.path, exc_info=True)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return replace(row, status="failed", reason=reason), None
    row = replace(
        row,
        width=image.shape[1],
        height=image.shape[0],
        metrics={} if truth is None else evaluate_performance(removed.mask, truth),
        checks=mask_checks(removed.mask, removed.unrefined, removed.scores),
        fallback=removed.fallback,
        timings_ms={"load": loading, **removed.timings_ms},
    )
    return row, removed


def _shown(items: tuple[Item, ...]) -> Iterator[Item]:
    """The items with a progress bar on a terminal, plain lines elsewhere."""
    if sys.stdout.isatty():
        yield from track(items, description="images")
        return
    for number, item in enumerate(items, 1):
        yield item
        if number * 4 // len(items) > (number - 1) * 4 // len(items):
            log.info("%d of %d images", number, len(items))


@contextmanager
def _mask_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive of masks; it takes its name when it is complete."""
    temporary = path.parent / TEMPORARY.replace("*", "masks")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            yield archive
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
