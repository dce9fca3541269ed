"""Scores of an alpha against a soft truth, as alphamatting.com defines them; 0 is best in all.

Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009. Every
``alpha`` and ``truth`` is HxW uint8, 255 = object, both of one shape with at least one pixel;
another layout raises ``ValueError``. There the sums run over the unknown region of a trimap; here,
without one, over the whole image. Nothing is stretched: that would hide a wrong level.

``void`` is HxW bool, True = neither object nor background, or None: both are taken as background
there.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.metrics.counts import BoolMask

Alpha = NDArray[np.uint8]
"""HxW uint8, 255 = object."""

_SIGMA, _CUT = 1.4, 1e-2  # of the Gaussian's derivative, and where it ends
_STEPS, _LEAST = 10, 0.15  # levels of connectivity, and the least distance that counts


def alpha_sad(alpha: Alpha, truth: Alpha, void: BoolMask | None = None) -> float:
    """Compute the sum of absolute differences, alpha from 0 to 1, in thousands of pixels."""
    alpha, truth = _leave_out(alpha, truth, void)
    return float(cv2.norm(alpha, truth, cv2.NORM_L1)) / 255 / 1000


def alpha_mse(alpha: Alpha, truth: Alpha, void: BoolMask | None = None) -> float:
    """Compute the mean squared difference, alpha from 0 to 1; the mean over all known pixels.

    All void: NaN.
    """
    alpha, truth = _leave_out(alpha, truth, void)
    n_known = alpha.size if void is None else int(np.count_nonzero(~void))
    total = float(cv2.norm(alpha, truth, cv2.NORM_L2SQR)) / 255**2
    return total / n_known if n_known else math.nan


def alpha_gradient(alpha: Alpha, truth: Alpha, void: BoolMask | None = None) -> float:
    """Compute the sum of squared differences of the gradients' lengths, in thousands.

    The gradient is by the first derivatives of a Gaussian of 1.4 pixels, of unit L2 norm.
    """
    alpha, truth = _leave_out(alpha, truth, void)
    return float(np.square(_measure_gradient(alpha) - _measure_gradient(truth)).sum()) / 1000


def alpha_connectivity(alpha: Alpha, truth: Alpha, void: BoolMask | None = None) -> float:
    """Compute the sum of differences in connectedness, in thousands of pixels.

    A pixel's connectedness is 1 - d, or 1 where d < 0.15: d is its alpha minus the highest level,
    in steps of 0.1, at which it is 4-connected to the largest part that both have at that level.
    """
    alpha, truth = _leave_out(alpha, truth, void)
    levels = np.full(alpha.shape, -1.0)
    for step in range(1, _STEPS + 1):
        both = 255 * step / _STEPS - 1e-6 <= np.minimum(alpha, truth)
        lost = (levels < 0) & ~_find_largest_part(both)
        levels[lost] = (step - 1) / _STEPS
    levels[levels < 0] = 1
    connected = []
    for plane in (alpha, truth):
        distance = plane / 255 - levels
        connected.append(1 - np.where(distance >= _LEAST, distance, 0))
    return float(np.abs(connected[0] - connected[1]).sum()) / 1000


MATTING_FUNCTIONS = (alpha_sad, alpha_mse, alpha_gradient, alpha_connectivity)
MATTING_METRICS = (*(function.__name__ for function in MATTING_FUNCTIONS), "composite_error")
"""Keys of the scores of an image whose truth is soft; lower is better in all."""


def measure_composite_error(result: Alpha, reference: Alpha, void: BoolMask | None = None) -> float:
    """Compute the mean absolute difference of two pictures, HxWx3 uint8, 0 to 255; void left out.

    All void: NaN.
    """
    if result.shape != reference.shape or result.ndim != 3:
        raise ValueError(f"expected HxWx3, got shapes {result.shape} and {reference.shape}")
    difference = cv2.absdiff(result, reference)
    known = difference.reshape(-1, 3) if void is None else difference[~void]
    return float(known.mean()) if known.size else math.nan


def _leave_out(alpha: Alpha, truth: Alpha, void: BoolMask | None) -> tuple[Alpha, Alpha]:
    for array in (alpha, truth):
        if array.ndim != 2 or array.dtype != np.uint8 or array.size == 0:
            raise ValueError(f"expected HxW uint8, got {array.dtype} of shape {array.shape}")
    if alpha.shape != truth.shape or (void is not None and void.shape != alpha.shape):
        shapes = [array.shape for array in (alpha, truth, void) if array is not None]
        raise ValueError(f"expected HxW uint8 of one shape, got {shapes}")
    if void is None:
        return np.ascontiguousarray(alpha), np.ascontiguousarray(truth)
    return np.where(void, 0, alpha).astype(np.uint8), np.where(void, 0, truth).astype(np.uint8)


def _measure_gradient(alpha: Alpha) -> NDArray[np.float64]:
    """Measure the length of each pixel's gradient, HxW."""
    half = math.ceil(_SIGMA * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * _SIGMA * _CUT)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    bell = np.exp(-(x**2) / (2 * _SIGMA**2))
    slope = x * bell
    scale = math.sqrt(float(np.square(bell).sum() * np.square(slope).sum()))
    share = alpha / 255
    across, down = (
        cv2.sepFilter2D(share, cv2.CV_64F, x_kernel, y_kernel, borderType=cv2.BORDER_REPLICATE)
        for x_kernel, y_kernel in ((slope, bell), (bell, slope))
    )
    return np.asarray(np.hypot(across, down) / scale, np.float64)


def _find_largest_part(mask: BoolMask) -> BoolMask:
    """Return the largest 4-connected part; nothing where the mask is empty."""
    found = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    parts, areas = np.asarray(found[1]), np.asarray(found[2])[1:, cv2.CC_STAT_AREA]
    if not areas.size:
        return np.zeros_like(mask)
    return np.asarray(parts == 1 + int(areas.argmax()), np.bool_)
