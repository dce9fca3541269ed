"""Checks of a mask for which there is no truth."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.metrics.counts import BoolMask, count
from bgexp.metrics.overlap import mae

CHECKS: tuple[str, ...] = (
    "coverage",
    "nothing_found",
    "parts",
    "border_contact",
    "confidence",
    "refined_share",
)
"""Keys of `check_mask`, in order. They warn: none of them has a better direction."""


def check_mask(
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
    n_mask, _, _ = count(mask, unrefined)
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
