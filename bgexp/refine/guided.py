"""A coarse mask to one that follows the image's edges, by the guided filter in a narrow band.

He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, with a colour guide; fitted at working size and
applied at full size as in He, Sun, "Fast Guided Filter", 2015.
"""

from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config import GuidedFilter
from bgexp.refine.refined import BoolArray, ByteArray, Refined, attempt
from bgexp.refine.window import Window, bands_around, open_window

FloatArray = NDArray[np.float32]

# The filter's epsilon, for colours of 0 to 1.
_SMOOTHING = 3e-4
# Side of the square over which the result at full size is averaged: it follows the noise as well.
_GRAIN = 3
_DEFAULTS = GuidedFilter()


def refine_mask_guided(
    image: ByteArray, mask: BoolArray, settings: GuidedFilter = _DEFAULTS
) -> Refined:
    """Moves the mask's edge to the image's, inside a band around it; the rest stays bit-equal.

    Repeats are bit-equal, in any thread.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: How.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    return attempt(image, mask, partial(_refined, settings=settings))


def _refined(image: ByteArray, mask: BoolArray, settings: GuidedFilter) -> BoolArray:
    window = open_window(image, mask, settings.radius, settings.size)
    reach = max(settings.radius * window.longer, 1.0)  # the edge's own pixels at least
    (unsure,) = bands_around(window.coarse, reach)
    found = window.coarse
    for _ in range(settings.iterations - 1):
        share = _apply(_fit(window.small, found, reach), window.small)
        found = np.where(unsure, share > 0.5, window.coarse)
    result = mask.copy()
    result[window.where] = follow_edges(window, found, unsure, reach)
    return result


def follow_edges(window: Window, found: BoolArray, unsure: BoolArray, radius: float) -> BoolArray:
    """A mask of working size at full size, HxW bool, along the edges of the picture.

    Args:
        window: Its own mask stays wherever that is sure.
        found: hxw bool, the mask of working size.
        unsure: hxw bool, where the result may differ from the window's mask.
        radius: Of the guided filter, in working pixels.
    """
    share = _apply(_fit(window.small, found, radius), window.picture)
    cv2.blur(share, (_GRAIN, _GRAIN), share)
    size = window.mask.shape[::-1]
    band = cv2.resize(unsure.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    new = window.mask.copy()
    cv2.copyTo((share > 0.5).view(np.uint8), band, new.view(np.uint8))
    return new


@dataclass(frozen=True, eq=False)
class _Linear:
    """A mask as a linear function of the colour, near each pixel.

    Attributes:
        gain: For red, green and blue of 0 to 255, hxw each.
        offset: hxw.
    """

    gain: list[FloatArray]
    offset: FloatArray


def _fit(picture: ByteArray, mask: BoolArray, radius: float) -> _Linear:
    """Fits the mask in the square around each pixel, for the means over all that hold a pixel."""
    mean = partial(_mean, side=2 * max(1, round(radius)) + 1)
    colors = [plane / np.float32(255) for plane in _planes(picture)]
    target = mask.astype(np.float32)
    means, share = [mean(color) for color in colors], mean(target)
    along = [mean(one * target) - m * share for one, m in zip(colors, means, strict=True)]
    rr, rg, rb, gg, gb, bb = (
        mean(colors[i] * colors[j]) - means[i] * means[j] + np.float32(_SMOOTHING * (i == j))
        for i, j in combinations_with_replacement(range(3), 2)
    )
    # Plane by plane, the inverse by its adjugate takes a tenth of the time of a solver's.
    adjugate = [
        [gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb],
        [gb * rb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb],
        [rg * gb - gg * rb, rb * rg - rr * gb, rr * gg - rg * rg],
    ]
    determinant = _dot([rr, rg, rb], adjugate[0])
    gain = [_dot(row, along) / determinant for row in adjugate]
    offset = share - _dot(gain, means)
    return _Linear([mean(one) / np.float32(255) for one in gain], mean(offset))


def _apply(linear: _Linear, picture: ByteArray) -> FloatArray:
    """The share of foreground by the colours of a picture of any size, HxW, about 0 to 1."""
    size = picture.shape[1::-1]
    share = np.asarray(cv2.resize(linear.offset, size), np.float32)
    product = np.empty_like(share)  # one for all: at full size, new memory is what takes time
    for gain, color in zip(linear.gain, _planes(picture), strict=True):
        cv2.resize(gain, size, product)
        product *= color
        share += product
    return share


def _planes(picture: ByteArray) -> ByteArray:
    return np.moveaxis(picture, -1, 0)


def _mean(plane: FloatArray, side: int) -> FloatArray:
    return np.asarray(cv2.blur(plane, (side, side)), np.float32)


def _dot(one: list[FloatArray], other: list[FloatArray]) -> FloatArray:
    total = one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
    return np.asarray(total, np.float32)
