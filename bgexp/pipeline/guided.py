"""A coarse mask to one that follows the image's edges, by the guided filter in a narrow band.

He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, with a colour guide; fitted at working size and
applied at full size as in He, Sun, "Fast Guided Filter", 2015.
"""

from functools import partial
from itertools import combinations_with_replacement, product

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import GuidedFilter
from bgexp.pipeline.refinement import BoolArray, ByteArray, Refinement, attempt
from bgexp.pipeline.working_window import Window, bands_around, open_window

FloatArray = NDArray[np.float32]
Tile = tuple[slice, slice]  # rows and columns

# The filter's epsilon, for colours of 0 to 1.
_SMOOTHING = 3e-4
# Side of the square over which the result at full size is averaged: it follows the noise as well.
_GRAIN = 3
# Side in pixels of the squares in which it is made: they fit the processor's cache.
_TILE = 256
_DEFAULTS = GuidedFilter()


def refine_mask_guided(
    image: ByteArray, mask: BoolArray, settings: GuidedFilter = _DEFAULTS
) -> Refinement:
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
        share = _share(_fit(window.small, found, reach), window.small)
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
    factors, new = _fit(window.small, found, radius), window.mask.copy()
    height, width = new.shape
    band = cv2.resize(unsure.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    for top, left in product(range(0, height, _TILE), range(0, width, _TILE)):
        x, y, across, down = cv2.boundingRect(band[top : top + _TILE, left : left + _TILE])
        if across:
            tile = slice(top + y, top + y + down), slice(left + x, left + x + across)
            front = _averaged(factors, window.picture, tile) > 0.5
            cv2.copyTo(front.view(np.uint8), band[tile], new[tile].view(np.uint8))
    return new


def _fit(picture: ByteArray, mask: BoolArray, radius: float) -> FloatArray:
    """The mask as a linear function of the colour near each pixel, hxwx4.

    Fitted in the square around each pixel, and averaged over all squares that hold a pixel.

    Returns:
        Factors of red, green and blue of 0 to 255, and of a fourth colour that is always 255.
    """
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
    return mean(np.dstack([*gain, offset]).astype(np.float32) / np.float32(255))


def _share(factors: FloatArray, picture: ByteArray) -> FloatArray:
    """The share of foreground by a picture's colours, hxw, about 0 to 1."""
    colors = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    terms = cv2.split(cv2.multiply(factors, colors, dtype=cv2.CV_32F))
    return np.asarray(terms[0] + terms[1] + terms[2] + terms[3], np.float32)


def _averaged(factors: FloatArray, picture: ByteArray, tile: Tile) -> FloatArray:
    """The share of foreground in a tile of a picture, averaged over the grain.

    As if the factors had been resized to the picture, applied and averaged as a whole.
    """
    rows, columns = (
        slice(max(part.start - _GRAIN // 2, 0), part.stop + _GRAIN // 2) for part in tile
    )
    colors = picture[rows, columns]
    scale = np.divide(factors.shape[1::-1], picture.shape[1::-1])
    shift = (np.array([columns.start, rows.start]) + 0.5) * scale - 0.5
    resized = cv2.warpAffine(
        factors,
        np.column_stack([np.diag(scale), shift]),
        colors.shape[1::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    share = _mean(_share(np.asarray(resized, np.float32), colors), _GRAIN)
    top, left = tile[0].start - rows.start, tile[1].start - columns.start
    height, width = (part.stop - part.start for part in tile)
    return share[top : top + height, left : left + width]


def _planes(picture: ByteArray) -> ByteArray:
    return np.moveaxis(picture, -1, 0)


def _mean(plane: FloatArray, side: int) -> FloatArray:
    return np.asarray(cv2.blur(plane, (side, side)), np.float32)


def _dot(one: list[FloatArray], other: list[FloatArray]) -> FloatArray:
    total = one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
    return np.asarray(total, np.float32)
