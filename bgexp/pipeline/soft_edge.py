"""A mask to an alpha in a narrow band along its edge, and the object's own colours in that band.

The alpha is that of the guided filter (He, Sun, Tang, TPAMI 2013), the colours are those of blur
fusion (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021); both are fitted at
working size and applied at full size. docs/soft-edges.md has what was measured, and what else.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.pipeline.guided import Tile, apply_factors, find_tiles, fit_colors, resize_to_tile
from bgexp.pipeline.refinement import BoolArray, ByteArray, RefusedError
from bgexp.pipeline.working_window import Window, find_bands, open_window

FloatArray = NDArray[np.float32]

# Of working size, in pixels: the longer side of the mask's surroundings, how near to the edge alpha
# may differ from the mask, the filter's radius, and the radii that colours are averaged over.
_SIZE, _BAND, _RADIUS, _COLOR_RADII = 640, 7, 5, (12, 3)
# Beyond these shares a pixel is all background or all object: the filter comes close to 0 and 1,
# and would leave a haze.
_LOW, _HIGH = 0.02, 0.98


@dataclass(frozen=True, eq=False)
class Matte:
    """How much of each pixel is object, and in what colour.

    Attributes:
        alpha: HxW uint8, 255 = object; the mask's 0 or 255 outside the band.
        colors: HxWx3 uint8 RGB of the object alone; the image's outside the band.
    """

    alpha: ByteArray
    colors: ByteArray


def estimate_matte(image: ByteArray, mask: BoolArray) -> Matte:
    """Estimate alpha and the object's colours in a band around the mask's edge.

    Where the mask is empty, full or too thin at working size, the edge stays hard.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
    """
    image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
    matte = Matte(mask.view(np.uint8) * np.uint8(255), image.copy())
    if not mask.any() or mask.all():
        return matte
    try:
        window = _open_surroundings(image, mask)
    except RefusedError:
        return matte
    (band,) = find_bands(window.coarse, _BAND)
    factors = fit_colors(window.small, window.coarse, _RADIUS)
    share = np.where(band, _limit(apply_factors(factors, window.small)), window.coarse)
    fitted = np.dstack([factors, *_average_colors(window.small, share.astype(np.float32))])
    alpha, colors = matte.alpha[window.where], matte.colors[window.where]
    for tile, inside in find_tiles(band, window.mask.shape):
        tile_alpha, tile_colors = _apply_to_tile(fitted, window.picture, tile)
        cv2.copyTo(tile_alpha, inside, alpha[tile])
        cv2.copyTo(tile_colors, inside, colors[tile])
    return matte


def estimate_colors(image: ByteArray, alpha: ByteArray) -> ByteArray:
    """Estimate the object's colours by a known alpha, HxWx3 uint8 RGB, at full size.

    Args:
        image: HxWx3 uint8 RGB.
        alpha: HxW uint8, 255 = object.
    """
    share = alpha.astype(np.float32) / np.float32(255)
    means = _average_colors(image, share)
    colors = _fuse(image.astype(np.float32), share[..., None], *means)
    return np.rint(colors).astype(np.uint8)


def _open_surroundings(image: ByteArray, mask: BoolArray) -> Window:
    """Cut out the mask with as much around it as the band and what is averaged there."""
    longer = max(cv2.boundingRect(mask.view(np.uint8))[2:])
    margin = (_BAND + _COLOR_RADII[0]) / min(longer, _SIZE)
    return open_window(image, mask, margin, _SIZE)


def _limit(share: FloatArray) -> FloatArray:
    return np.asarray(np.clip((share - _LOW) / (_HIGH - _LOW), 0, 1), np.float32)


def _average_colors(picture: ByteArray, alpha: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Estimate the colours of object and background near each pixel, hxwx3 float32 both."""
    image, share = picture.astype(np.float32), alpha[..., None]
    colors = background = image
    for radius in _COLOR_RADII:
        mean = _mean_of(colors, share, radius)
        background = _mean_of(background, 1 - share, radius)
        colors = _fuse(image, share, mean, background)
    return mean, background


def _mean_of(colors: FloatArray, weight: FloatArray, radius: int) -> FloatArray:
    side = 2 * radius + 1
    total = cv2.blur(colors * weight, (side, side))
    return np.asarray(total / (cv2.blur(weight, (side, side))[..., None] + 1e-5), np.float32)


def _fuse(
    image: FloatArray, alpha: FloatArray, colors: FloatArray, background: FloatArray
) -> FloatArray:
    """Add to the object's mean colours what they leave of the image unexplained."""
    rest = image - alpha * colors - (1 - alpha) * background
    return np.asarray(np.clip(colors + alpha * rest, 0, 255), np.float32)


def _apply_to_tile(
    fitted: FloatArray, picture: ByteArray, tile: Tile
) -> tuple[ByteArray, ByteArray]:
    resized = resize_to_tile(fitted, picture.shape, tile)
    part = picture[tile]
    alpha = _limit(apply_factors(np.ascontiguousarray(resized[..., :4]), part))
    colors = _fuse(part.astype(np.float32), alpha[..., None], resized[..., 4:7], resized[..., 7:])
    return np.rint(255 * alpha).astype(np.uint8), np.rint(colors).astype(np.uint8)
