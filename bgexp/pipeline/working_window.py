"""The surroundings of a mask at full size and at working size, and what is uncertain in them."""

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.pipeline.refinement import BoolArray, ByteArray, RefusedError


@dataclass(frozen=True, eq=False)
class Window:
    """The part of an image that a refinement looks at.

    Attributes:
        where: Its rows and columns in the image.
        picture: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        small: hxwx3 uint8, the picture at working size.
        coarse: hxw bool, the mask at working size; neither empty nor full.
        longer: The longer side of the mask's bounding box, in working pixels.
    """

    where: tuple[slice, slice]
    picture: ByteArray
    mask: BoolArray
    small: ByteArray
    coarse: BoolArray
    longer: float


def open_window(image: ByteArray, mask: BoolArray, margin: float, size: int) -> Window:
    """The mask's bounding box with a margin around it.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, not empty.
        margin: A share of the longer side of the mask's bounding box.
        size: The longer side of the window at working size, in pixels; it never grows.

    Raises:
        RefusedError: The mask or its background vanishes at working size.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    longer = max(width, height)
    more = ceil(longer * margin) + 1
    rows = slice(max(y - more, 0), y + height + more)
    columns = slice(max(x - more, 0), x + width + more)
    picture, old = image[rows, columns], mask[rows, columns]
    scale = min(1.0, size / max(old.shape))
    shape = max(1, round(old.shape[1] * scale)), max(1, round(old.shape[0] * scale))
    small = shrunk(picture, shape)
    coarse = shrunk(old.view(np.uint8) * np.uint8(255), shape) > 127
    if not coarse.any() or coarse.all():
        raise RefusedError("the mask or its background is too thin at working size")
    return Window((rows, columns), picture, old, small, coarse, longer * scale)


def shrunk(picture: ByteArray, shape: tuple[int, int]) -> ByteArray:
    """A picture or plane of uint8 at a smaller size, each pixel the mean of an area.

    Args:
        picture: HxW or HxWxC.
        shape: Width and height in pixels.
    """
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    if width >= 2 * shape[0] and height >= 2 * shape[1]:
        # Four pixels to one take a fraction of the time of any other number.
        even = picture[: 2 * height, : 2 * width]
        picture = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.resize(picture, shape, interpolation=cv2.INTER_AREA), np.uint8)


def bands_around(mask: BoolArray, *widths: float) -> list[BoolArray]:
    """For each width in pixels, what is that near to the mask's edge, hxw bool.

    A part thinner than the band keeps the inner half of its depth outside the band, and so does
    the background. Distances do not count the image border, where the object is only cut off.
    """
    inside, outside = _depth(mask), _depth(~mask)
    parts = np.asarray(cv2.connectedComponents(mask.view(np.uint8))[1], np.int32)
    deepest = np.zeros(parts.max() + 1, np.float32)
    np.maximum.at(deepest, parts, inside)
    half, half_outside = deepest[parts] / 2, outside.max() / 2
    return [
        np.where(mask, inside <= np.minimum(width, half), outside <= min(width, half_outside))
        for width in widths
    ]


def _depth(mask: BoolArray) -> NDArray[np.float32]:
    """Of each True pixel, the distance in pixels to the nearest False one."""
    depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(depth, np.float32)
