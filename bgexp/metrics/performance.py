"""Scores of a mask against the truth, checks without a truth, and their aggregation.

Every ``mask`` (P) and ``truth`` (G) is HxW bool, True = foreground, both of one shape with at least
one pixel; another layout raises ``ValueError``. 0 / 0 is NaN, never 0 or -1. Empty means without a
foreground pixel, full without a background pixel.

``void`` is HxW bool, True = neither object nor background, or None. Such a pixel is left out of
every metric: it counts like one beyond the image, and no mask or truth there changes a score.
"""

from bgexp.metrics.counts import BoolMask
from bgexp.metrics.matting import MATTING_METRICS
from bgexp.metrics.overlap import (
    background_leakage,
    boundary_iou,
    dice,
    foreground_recall,
    iou,
    mae,
    precision,
)
from bgexp.metrics.saliency import e_measure, s_measure, weighted_f

LOWER_IS_BETTER: frozenset[str] = frozenset({"background_leakage", "mae", *MATTING_METRICS})
"""The metrics whose best value is 0; that of all others is 1 (of the E-measure N / (N - 1))."""

_FUNCTIONS = (
    iou,
    dice,
    precision,
    foreground_recall,
    background_leakage,
    mae,
    boundary_iou,
    s_measure,
    e_measure,
    weighted_f,
)

METRICS: tuple[str, ...] = tuple(function.__name__ for function in _FUNCTIONS)
"""Keys of `evaluate_performance`, in order. Higher is better, but for those in LOWER_IS_BETTER."""


def evaluate_performance(
    mask: BoolMask, truth: BoolMask, void: BoolMask | None = None
) -> dict[str, float]:
    """Score an HxW bool mask by every metric of `METRICS`: a float or NaN for each name.

    All are in [0, 1] but the E-measure, whose best value is N / (N - 1) for N pixels.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[True, True], [False, False]])
        >>> evaluate_performance(np.array([[True, False], [False, False]]), truth)["iou"]
        0.5
    """
    return {function.__name__: function(mask, truth, void) for function in _FUNCTIONS}
