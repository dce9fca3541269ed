"""A coarse mask to one that follows the image's edges, by the guided filter in a narrow band.

He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, with a colour guide; fitted at working size and
applied at full size as in He, Sun, "Fast Guided Filter", 2015.
"""

from collections.abc import Iterator
from functools import partial
from itertools import combinations_with_replacement, product

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import GuidedFilter
from bgexp.pipeline.refinement import BoolArray, ByteArray, Refinement, try_refinement
from bgexp.pipeline.working_window import Window, check_length, find_bands, open_window

FloatArray = NDArray[np.float32]
Tile = tuple[slice, slice]  # rows and columns

# The filter's epsilon, for colours of 0 to 1.
_SMOOTHING = 3e-4
# Side of the square over which the result at full size is averaged: it would follow the noise.
_GRAIN = 3
# Side in pixels of the tiles in which it is computed: they fit the processor's cache.
_TILE = 256
# Objects have to be longer than so many bands: the band would take all of each.
_SHORTEST = 2
_DEFAULTS = GuidedFilter()


def refine_mask_guided(
    image: ByteArray, mask: BoolArray, settings: GuidedFilter = _DEFAULTS
) -> Refinement:
    """Move the mask's edge to the image's, inside a band around it; the rest stays bit-equal.

    Repeats are bit-equal, in any thread.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: How.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    return try_refinement(image, mask, partial(_refine_window, settings=settings))


def _refine_window(image: ByteArray, mask: BoolArray, settings: GuidedFilter) -> BoolArray:
    window = open_window(image, mask, settings.radius, settings.size)
    reach = max(settings.radius * window.longer, 1.0)  # the edge's own pixels at least
    check_length(window.coarse, _SHORTEST * reach)
    (uncertain,) = find_bands(window.coarse, reach)
    refined = window.coarse
    for _ in range(settings.iterations - 1):
        share = apply_factors(fit_colors(window.small, refined, reach), window.small)
        refined = np.where(uncertain, share > 0.5, window.coarse)
    result = mask.copy()
    result[window.where] = follow_edges(window, refined, uncertain, reach)
    return result


def follow_edges(
    window: Window, refined: BoolArray, uncertain: BoolArray, radius: float
) -> BoolArray:
    """Bring a mask from working size to full size, HxW bool, along the edges of the picture.

    Args:
        window: Where `uncertain` is False, its own mask stays.
        refined: hxw bool, the mask of working size.
        uncertain: hxw bool, where the result may differ from the window's mask.
        radius: Of the guided filter, in working pixels.
    """
    factors, result = fit_colors(window.small, refined, radius), window.mask.copy()
    for tile, inside in find_tiles(uncertain, result.shape):
        foreground = _average_tile(factors, window.picture, tile) > 0.5
        cv2.copyTo(foreground.view(np.uint8), inside, result[tile].view(np.uint8))
    return result


def find_tiles(band: BoolArray, shape: tuple[int, ...]) -> Iterator[tuple[Tile, ByteArray]]:
    """Yield the tiles of full size that hold what is in the band, each with its part of the band.

    Args:
        band: hxw bool, of working size.
        shape: Rows and columns of full size.
    """
    height, width = shape
    large = cv2.resize(band.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    for top, left in product(range(0, height, _TILE), range(0, width, _TILE)):
        x, y, across, down = cv2.boundingRect(large[top : top + _TILE, left : left + _TILE])
        if across:
            tile = slice(top + y, top + y + down), slice(left + x, left + x + across)
            yield tile, np.asarray(large[tile], np.uint8)


def fit_colors(picture: ByteArray, mask: BoolArray, radius: float) -> FloatArray:
    """Fit the mask as a linear function of the colour near each pixel, hxwx4 float32.

    Fitted in the square around each pixel, and averaged over all squares that hold a pixel.

    Returns:
        Factors of red, green and blue of 0 to 255, and of a fourth colour that is always 255.
    """
    mean = partial(_blur, side=2 * max(1, round(radius)) + 1)
    colors = [plane / np.float32(255) for plane in _split_planes(picture)]
    target = mask.astype(np.float32)
    means, share = [mean(color) for color in colors], mean(target)
    covariances = [
        mean(color * target) - color_mean * share
        for color, color_mean in zip(colors, means, strict=True)
    ]
    rr, rg, rb, gg, gb, bb = (
        mean(colors[i] * colors[j]) - means[i] * means[j] + np.float32(_SMOOTHING * (i == j))
        for i, j in combinations_with_replacement(range(3), 2)
    )
    # Plane by plane, the inverse by its adjugate takes a tenth of a solver's time.
    adjugate = [
        [gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb],
        [gb * rb - rg * bb, rr * bb - rb * rb, rb * rg - rr * gb],
        [rg * gb - gg * rb, rb * rg - rr * gb, rr * gg - rg * rg],
    ]
    determinant = _dot([rr, rg, rb], adjugate[0])
    gain = [_dot(row, covariances) / determinant for row in adjugate]
    offset = share - _dot(gain, means)
    return mean(np.dstack([*gain, offset]).astype(np.float32) / np.float32(255))


def apply_factors(factors: FloatArray, picture: ByteArray) -> FloatArray:
    """Compute the share of foreground by a picture's colours, hxw float32, about 0 to 1."""
    colors = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    terms = cv2.split(cv2.multiply(factors, colors, dtype=cv2.CV_32F))
    return np.asarray(terms[0] + terms[1] + terms[2] + terms[3], np.float32)


def _average_tile(factors: FloatArray, picture: ByteArray, tile: Tile) -> FloatArray:
    """Compute the share of foreground in a tile of a picture, averaged over the grain.

    As if the factors had been resized to the picture, applied and averaged as a whole.
    """
    rows, columns = (
        slice(max(part.start - _GRAIN // 2, 0), min(part.stop + _GRAIN // 2, length))
        for part, length in zip(tile, picture.shape, strict=False)
    )
    resized = resize_to_tile(factors, picture.shape, (rows, columns))
    colors = picture[rows, columns]
    share = _blur(apply_factors(resized, colors), _GRAIN)
    top, left = tile[0].start - rows.start, tile[1].start - columns.start
    height, width = (part.stop - part.start for part in tile)
    return share[top : top + height, left : left + width]


def resize_to_tile(planes: FloatArray, shape: tuple[int, ...], tile: Tile) -> FloatArray:
    """Return a tile of planes of working size, hxwxC, as if they had been resized as a whole.

    Args:
        planes: Of working size.
        shape: Rows and columns of full size.
        tile: Rows and columns of the tile, inside the shape.
    """
    rows, columns = tile
    scale = np.divide(planes.shape[1::-1], shape[1::-1])
    shift = (np.array([columns.start, rows.start]) + 0.5) * scale - 0.5
    size = columns.stop - columns.start, rows.stop - rows.start
    resized = cv2.warpAffine(
        planes,
        np.column_stack([np.diag(scale), shift]),
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(resized, np.float32)


def _split_planes(picture: ByteArray) -> ByteArray:
    return np.moveaxis(picture, -1, 0)


def _blur(plane: FloatArray, side: int) -> FloatArray:
    return np.asarray(cv2.blur(plane, (side, side)), np.float32)


def _dot(first: list[FloatArray], second: list[FloatArray]) -> FloatArray:
    total = first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
    return np.asarray(total, np.float32)
