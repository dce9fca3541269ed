"""Pixels counted, then divided: what every metric starts from."""

import math

import numpy as np
from numpy.typing import NDArray

BoolMask = NDArray[np.bool_]
"""HxW bool, True = foreground."""


def check(mask: BoolMask, truth: BoolMask) -> None:
    """Refuse all but two HxW bool arrays of one shape with a pixel in them.

    Raises:
        ValueError: what was expected and what came.
    """
    for array in (mask, truth):
        if array.ndim != 2 or array.dtype != np.bool_ or array.size == 0:
            raise ValueError(f"expected HxW bool, got {array.dtype} of shape {array.shape}")
    if mask.shape != truth.shape:
        raise ValueError(f"expected HxW bool, got unequal shapes {mask.shape} and {truth.shape}")


def leave_out(
    mask: BoolMask, truth: BoolMask, void: BoolMask | None
) -> tuple[BoolMask, BoolMask, int]:
    """Return both without what is void, and the number of pixels that are not; refuses as `check`.

    A void pixel is neither object nor background: it counts like one beyond the image.
    """
    check(mask, truth)
    if void is None:
        return mask, truth, mask.size
    check(mask, void)
    known = ~void
    return mask & known, truth & known, int(np.count_nonzero(known))


def count(mask: BoolMask, truth: BoolMask) -> tuple[int, int, int]:
    """Count the foreground pixels of the mask, of the truth, and of both; refuses as `check`."""
    check(mask, truth)
    n_mask, n_truth, n_both = (int(np.count_nonzero(a)) for a in (mask, truth, mask & truth))
    return n_mask, n_truth, n_both


def ratio(part: int, whole: int) -> float:
    """Return part / whole, in [0, 1] for a part of it; 0 / 0 is NaN."""
    return part / whole if whole else math.nan
