"""The images of a dataset through the pipeline: to masks, and to rows with scores or reasons."""

import logging
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from bgexp.config import RunSettings
from bgexp.dataset import Item
from bgexp.detect import CachedDetector
from bgexp.device import CPU, Device
from bgexp.errors import Interrupted
from bgexp.files import TEMPORARY
from bgexp.images import ImageError, encode_mask
from bgexp.inputs import Prepared, load_item
from bgexp.metrics import evaluate_performance, mask_checks
from bgexp.metrics.overlap import boundary_iou, iou
from bgexp.pipeline import Removed, remove_background
from bgexp.results import Row

Watcher = Callable[[Item, Removed], None]

log = logging.getLogger(__name__)


def work_through(
    prepared: Prepared, folder: Path, watch: Watcher
) -> tuple[list[Row], Interrupted | None]:
    """Every image to a row, and its mask into masks.zip; `watch` sees each result.

    When it is interrupted, what there is so far comes back with the interruption.
    """
    rows: list[Row] = []
    with _mask_archive(folder / "masks.zip") as archive:
        try:
            for item in _shown(prepared.dataset.items):
                row, removed = process(item, prepared.detector, prepared.settings, prepared.device)
                if removed is not None:
                    archive.writestr(zipfile.ZipInfo(f"{item.path}.png"), encode_mask(removed.mask))
                    watch(item, removed)
                else:
                    log.warning("%s: %s", item.path, row.reason)
                rows.append(row)
        except Interrupted as signal:
            return rows, signal
    return rows, None


def process(
    item: Item, detector: CachedDetector, settings: RunSettings, device: Device = CPU
) -> tuple[Row, Removed | None]:
    """One image to its row; whatever is wrong with it becomes the row's reason."""
    row = Row(item.path, item.category, item.sha256, "ok")
    started = perf_counter()
    try:
        image, truth = load_item(item, settings.dataset.max_megapixels)
        loading = 1000 * (perf_counter() - started)
        looked = detector.of_file(item.sha256)
        removed = remove_background(
            image, looked, settings.combine, settings.refine, settings.cutout, settings.seed, device
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
        checks=mask_checks(removed.mask, removed.unrefined, removed.scores),
        refined=removed.refined,
        fallback=removed.fallback,
        cached=bool(looked.cached),
        timings_ms={"load": loading, **removed.timings_ms, "detect": looked.network_ms},
    )
    return row if truth is None else _scored(row, removed, truth), removed


def _scored(row: Row, removed: Removed, truth: NDArray[np.bool_]) -> Row:
    before = {}
    if removed.refined != "off":
        before = {
            "iou": iou(removed.unrefined, truth),
            "boundary_iou": boundary_iou(removed.unrefined, truth),
        }
    return replace(row, metrics=evaluate_performance(removed.mask, truth), unrefined=before)


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
