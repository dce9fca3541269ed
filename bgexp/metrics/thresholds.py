"""Scores of a soft mask at many thresholds, by counting its pixels once."""

import math
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.metrics.counts import BoolMask, leave_out, ratio

THRESHOLDS = tuple(round(0.05 * n, 2) for n in range(1, 20))
CURVES = ("iou", "precision", "foreground_recall")
_EXACT = 1 << 24  # pixels that cv2's float32 counts exactly


def score_thresholds(
    levels: NDArray[np.uint8], truth: BoolMask, void: BoolMask | None = None
) -> dict[str, list[float]]:
    """Score the masks of all THRESHOLDS: for each of CURVES a value a threshold, NaN for 0 / 0.

    The values are those of the metrics of these names.

    Args:
        levels: HxW uint8; how many of THRESHOLDS a pixel's soft value exceeds.
        truth: HxW bool, True = foreground.
        void: HxW bool, True = neither right nor wrong; None: none.

    Raises:
        ValueError: Unequal shapes.
    """
    known, truth, _ = leave_out(np.ones(levels.shape, np.bool_), truth, void)
    hits = _count_kept(levels, truth)
    kept = [
        true + false for true, false in zip(hits, _count_kept(levels, known & ~truth), strict=True)
    ]
    n_truth = int(np.count_nonzero(truth))
    return {
        "iou": [ratio(true, n + n_truth - true) for true, n in zip(hits, kept, strict=True)],
        "precision": [ratio(true, n) for true, n in zip(hits, kept, strict=True)],
        "foreground_recall": [ratio(true, n_truth) for true in hits],
    }


def _count_kept(levels: NDArray[np.uint8], where: BoolMask) -> list[int]:
    """Count the pixels in a region that each threshold keeps."""
    n = len(THRESHOLDS) + 1
    strips = math.ceil(levels.size / _EXACT)
    counts = sum(
        cv2.calcHist([part], [0], region.view(np.uint8), [n], [0, n]).astype(np.int64)
        for part, region in zip(
            np.array_split(levels, strips), np.array_split(where, strips), strict=True
        )
    )
    # A threshold keeps the pixels of all levels above its own.
    return list(accumulate(np.ravel(counts)[:0:-1].tolist()))[::-1]
