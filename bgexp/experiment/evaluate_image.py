"""One image through the pipeline to its row: scores and checks, or what is wrong with it."""

import logging
from dataclasses import replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from bgexp.config.run import RunSettings
from bgexp.config.stages import Combine
from bgexp.datasets.load import load_item
from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Item
from bgexp.detect.detector import FileDetectors
from bgexp.experiment.results import ImageResult
from bgexp.experiment.truth_fits import measure_truth_fits
from bgexp.images.decode import ImageError
from bgexp.metrics.checks import check_mask
from bgexp.metrics.matting import MATTING_FUNCTIONS, measure_composite_error
from bgexp.metrics.overlap import boundary_iou, iou
from bgexp.metrics.performance import evaluate_performance
from bgexp.metrics.thresholds import THRESHOLDS, score_thresholds
from bgexp.pipeline.combine import count_exceeded_thresholds
from bgexp.pipeline.cutout import cut_out, cut_out_by_settings
from bgexp.pipeline.remove import RemovalResult, remove_background
from bgexp.pipeline.soft_edge import Matte, estimate_colors

ByteArray = NDArray[np.uint8]

# The old background shows through most where the new one is light, or of no colour in it.
_OTHER_BACKGROUNDS = ("white", "#00ff00")

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
    if truth is None:
        return row, removed
    row = _score_row(row, removed, truth, settings.combine)
    return replace(row, metrics=row.metrics | score_alpha(image, removed, truth, settings)), removed


def make_row(item: Item) -> ImageResult:
    """Return the row of an image that was not evaluated yet."""
    return ImageResult(item.path, item.category, item.sha256, "ok")


def fail_row(row: ImageResult, reason: str) -> ImageResult:
    """Return the row with the reason why it failed."""
    return replace(row, status="failed", reason=reason)


def _score_row(
    row: ImageResult, removed: RemovalResult, truth: Truth, combine: Combine
) -> ImageResult:
    foreground, void = truth.foreground, truth.void
    unrefined = {}
    if removed.refined != "off":
        unrefined = {
            "iou": iou(removed.unrefined, foreground, void),
            "boundary_iou": boundary_iou(removed.unrefined, foreground, void),
        }
    exceeded = count_exceeded_thresholds(removed.detector_output, combine, THRESHOLDS)
    return replace(
        row,
        metrics=evaluate_performance(removed.mask, foreground, void),
        unrefined=unrefined,
        threshold_scores=score_thresholds(exceeded, foreground, void),
        truth_fits=measure_truth_fits(removed.mask, truth),
    )


def score_alpha(
    image: ByteArray, removed: RemovalResult, truth: Truth, settings: RunSettings
) -> dict[str, float]:
    """Score a soft or hard edge by MATTING_METRICS; {} where the truth is hard.

    The composite error is the mean over white and over green. The truth's colours are not known:
    they are those that its alpha gives.
    """
    if truth.alpha is None:
        return {}
    alpha = removed.alpha
    if alpha is None:
        alpha = removed.mask.astype(np.uint8) * np.uint8(255)
    scores = {f.__name__: f(alpha, truth.alpha, truth.void) for f in MATTING_FUNCTIONS}
    reference = Matte(truth.alpha, estimate_colors(image, truth.alpha))
    errors = []
    for background in _OTHER_BACKGROUNDS:
        edge = "hard" if removed.alpha is None else "soft"
        cutout = settings.cutout.replace(background=background, edge=edge)
        result, _ = cut_out_by_settings(image, removed.mask, cutout)
        true_result = cut_out(image, truth.foreground, background, reference)
        errors.append(measure_composite_error(result, true_result, truth.void))
    return scores | {"composite_error": sum(errors) / len(errors)}
