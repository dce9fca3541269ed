"""One image through the pipeline to its row: scores and checks, or what is wrong with it."""

import logging
from dataclasses import replace
from time import perf_counter

from bgexp.config.run import RunSettings
from bgexp.datasets.load import load_item
from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Item
from bgexp.detect.detector import FileDetectors
from bgexp.experiment.results import ImageResult
from bgexp.experiment.truth_fits import measure_truth_fits
from bgexp.images.decode import ImageError
from bgexp.metrics.checks import check_mask
from bgexp.metrics.overlap import boundary_iou, iou
from bgexp.metrics.performance import evaluate_performance
from bgexp.pipeline.remove import RemovalResult, remove_background

log = logging.getLogger(__name__)


def evaluate_image(
    item: Item, detector: FileDetectors, settings: RunSettings
) -> tuple[ImageResult, RemovalResult | None]:
    """Evaluate one image to its row; whatever is wrong with it becomes the row's reason."""
    row = make_row(item)
    started = perf_counter()
    try:
        image, truth = load_item(item, settings.dataset.max_megapixels)
        load_ms = 1000 * (perf_counter() - started)
        detected = detector.for_file(item.sha256, item.path)
        removed = remove_background(
            image, detected, settings.combine, settings.refine, settings.cutout, settings.seed
        )
    except ImageError as error:
        return fail_row(row, str(error)), None
    except Exception as error:
        log.debug("%s", item.path, exc_info=True)
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return fail_row(row, reason), None
    row = replace(
        row,
        width=image.shape[1],
        height=image.shape[0],
        checks=check_mask(removed.mask, removed.unrefined, removed.scores),
        refined=removed.refined,
        fallback=removed.fallback,
        cached=bool(detected.cached),
        timings_ms={"load": load_ms, **removed.timings_ms, "detect": detected.network_ms},
    )
    return row if truth is None else _score_row(row, removed, truth), removed


def make_row(item: Item) -> ImageResult:
    """Return the row of an image that was not evaluated yet."""
    return ImageResult(item.path, item.category, item.sha256, "ok")


def fail_row(row: ImageResult, reason: str) -> ImageResult:
    """Return the row with the reason why it failed."""
    return replace(row, status="failed", reason=reason)


def _score_row(row: ImageResult, removed: RemovalResult, truth: Truth) -> ImageResult:
    foreground, void = truth.foreground, truth.void
    unrefined = {}
    if removed.refined != "off":
        unrefined = {
            "iou": iou(removed.unrefined, foreground, void),
            "boundary_iou": boundary_iou(removed.unrefined, foreground, void),
        }
    return replace(
        row,
        metrics=evaluate_performance(removed.mask, foreground, void),
        unrefined=unrefined,
        truth_fits=measure_truth_fits(removed.mask, truth),
    )
