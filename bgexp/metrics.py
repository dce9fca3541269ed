"""Scores of a mask against the truth, checks without a truth, and their aggregation.

Every ``mask`` (P) and ``truth`` (G) is HxW bool, True = foreground, both of one shape with at least
one pixel; another layout raises ``ValueError``. Pixels are counted, then divided: 0 / 0 is NaN,
never 0 or -1. Empty means without a foreground pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]

LOWER_IS_BETTER: frozenset[str] = frozenset({"background_leakage", "mae"})
"""The metrics whose best value is 0; the best value of all others is 1."""

CHECKS: tuple[str, ...] = (
    "coverage",
    "nothing_found",
    "parts",
    "border_contact",
    "confidence",
    "refined_share",
)
"""Keys of `mask_checks`, in order. They warn: none of them has a better direction."""


def iou(mask: BoolMask, truth: BoolMask) -> float:
    """Intersection over union, |P & G| / |P | G| (Jaccard 1912): 0 worst, 1 best.

    Truth or mask empty: 0. Both empty: NaN.
    """
    n_mask, n_truth, both = _count(mask, truth)
    return _ratio(both, n_mask + n_truth - both)


def dice(mask: BoolMask, truth: BoolMask) -> float:
    """Dice coefficient, 2 |P & G| / (|P| + |G|) (Dice 1945): 0 worst, 1 best.

    Truth or mask empty: 0. Both empty: NaN.
    """
    n_mask, n_truth, both = _count(mask, truth)
    return _ratio(2 * both, n_mask + n_truth)


def precision(mask: BoolMask, truth: BoolMask) -> float:
    """Share of the kept pixels that are true foreground, |P & G| / |P|: 0 worst, 1 best.

    Truth empty: 0. Mask or both empty: NaN.
    """
    n_mask, _, both = _count(mask, truth)
    return _ratio(both, n_mask)


def foreground_recall(mask: BoolMask, truth: BoolMask) -> float:
    """Share of the true foreground that is kept, |P & G| / |G|: 0 worst, 1 best.

    Mask empty: 0. Truth or both empty: NaN.
    """
    _, n_truth, both = _count(mask, truth)
    return _ratio(both, n_truth)


def background_leakage(mask: BoolMask, truth: BoolMask) -> float:
    """Share of the kept pixels that are background, 1 - precision: 0 best, 1 worst.

    Truth empty: 1. Mask or both empty: NaN.
    """
    n_mask, _, both = _count(mask, truth)
    return _ratio(n_mask - both, n_mask)


def mae(mask: BoolMask, truth: BoolMask) -> float:
    """Mean absolute error, mean |P - G|; of bools, the share of wrong pixels: 0 best, 1 worst.

    Always defined. Truth empty: the mask's share of the image. Mask empty: the truth's. Both: 0.
    """
    n_mask, n_truth, both = _count(mask, truth)
    return _ratio(n_mask + n_truth - 2 * both, mask.size)


def boundary_iou(mask: BoolMask, truth: BoolMask) -> float:
    """IoU of the two inner boundary bands (Cheng et al., CVPR 2021): 0 worst, 1 best.

    A band is d = max(1, round(0.02 diagonal)) pixels wide, a half rounded to even as in their code;
    the image's edge counts as boundary. Not the min(mask IoU, boundary IoU) of their COCO scores.

    Truth or mask empty: 0. Both empty: NaN.
    """
    _check(mask, truth)
    width = max(1, round(0.02 * math.hypot(*mask.shape)))
    return iou(_band(mask, width), _band(truth, width))


_FUNCTIONS = (iou, dice, precision, foreground_recall, background_leakage, mae, boundary_iou)

METRICS: tuple[str, ...] = tuple(function.__name__ for function in _FUNCTIONS)
"""Keys of `evaluate_performance`, in order. Higher is better, but for those in LOWER_IS_BETTER."""


def evaluate_performance(mask: BoolMask, truth: BoolMask) -> dict[str, float]:
    """Score an HxW bool mask by every metric of `METRICS`: a float in [0, 1] or NaN for each name.

    Example:
        >>> truth = np.array([[True, True], [False, False]])
        >>> evaluate_performance(np.array([[True, False], [False, False]]), truth)["iou"]
        0.5
    """
    return {function.__name__: function(mask, truth) for function in _FUNCTIONS}


def mask_checks(
    mask: BoolMask, unrefined: BoolMask, scores: NDArray[np.floating]
) -> dict[str, float]:
    """Describe a mask for which there is no truth.

    Args:
        mask: HxW bool, the final foreground.
        unrefined: HxW bool, the foreground before refinement.
        scores: (N,) float, the detector's scores of the instances used.

    Returns:
        For each key of `CHECKS` a float: coverage, share of pixels kept; nothing_found, 1.0 if the
        mask is empty, else 0.0; parts, number of 8-connected components; border_contact, share of
        the image's border pixels that are foreground; confidence, mean score, NaN if there is none;
        refined_share, share of pixels in which the two masks differ.
    """
    n_mask, _, _ = _count(mask, unrefined)
    if scores.ndim != 1 or not np.issubdtype(scores.dtype, np.floating):
        raise ValueError(f"expected (N,) float, got {scores.dtype} of shape {scores.shape}")
    inside = mask[1:-1, 1:-1]
    n_labels, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return {
        "coverage": n_mask / mask.size,
        "nothing_found": float(n_mask == 0),
        "parts": float(n_labels - 1),
        "border_contact": (n_mask - int(np.count_nonzero(inside))) / (mask.size - inside.size),
        "confidence": float(scores.mean(dtype=float)) if scores.size else math.nan,
        "refined_share": mae(mask, unrefined),
    }


@dataclass(frozen=True)
class Aggregate:
    """One metric over many images: the floats are of the scored ones and NaN if there is none."""

    mean: float
    median: float
    p05: float  # percentiles interpolate linearly between neighbours
    p95: float
    n_scored: int
    n_undefined: int


def aggregate(values: Sequence[float]) -> Aggregate:
    """Summarise one value per image; NaN (undefined) is left out and counted."""
    scored = [value for value in values if not math.isnan(value)]
    n_undefined = len(values) - len(scored)
    if not scored:
        return Aggregate(math.nan, math.nan, math.nan, math.nan, 0, n_undefined)
    p05, median, p95 = (float(p) for p in np.percentile(scored, (5, 50, 95)))
    return Aggregate(float(np.mean(scored)), median, p05, p95, len(scored), n_undefined)


def _check(mask: BoolMask, truth: BoolMask) -> None:
    for array in (mask, truth):
        if array.ndim != 2 or array.dtype != np.bool_ or array.size == 0:
            raise ValueError(f"expected HxW bool, got {array.dtype} of shape {array.shape}")
    if mask.shape != truth.shape:
        raise ValueError(f"expected HxW bool, got unequal shapes {mask.shape} and {truth.shape}")


def _count(mask: BoolMask, truth: BoolMask) -> tuple[int, int, int]:
    """Foreground pixels of the mask, of the truth, and of both at once."""
    _check(mask, truth)
    n_mask, n_truth, both = (int(np.count_nonzero(a)) for a in (mask, truth, mask & truth))
    return n_mask, n_truth, both


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _band(mask: BoolMask, width: int) -> BoolMask:
    """Mask minus its erosion by ``width`` steps of 3x3, with zeros around the image."""
    if not mask.any():
        return mask
    pixels = mask.astype(np.uint8)
    left, top, columns, rows = cv2.boundingRect(pixels)
    box = np.s_[top : top + rows, left : left + columns]
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)  # erodes as much as all the steps
    eroded = cv2.erode(pixels[box], square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    band = mask.copy()
    band[box] &= eroded == 0
    return band
