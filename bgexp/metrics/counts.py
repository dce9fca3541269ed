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


def count(mask: BoolMask, truth: BoolMask) -> tuple[int, int, int]:
    """Count the foreground pixels of the mask, of the truth, and of both; refuses as `check`."""
    check(mask, truth)
    n_mask, n_truth, n_both = (int(np.count_nonzero(a)) for a in (mask, truth, mask & truth))
    return n_mask, n_truth, n_both


def ratio(part: int, whole: int) -> float:
    """Return part / whole, in [0, 1] for a part of it; 0 / 0 is NaN."""
    return part / whole if whole else math.nan
