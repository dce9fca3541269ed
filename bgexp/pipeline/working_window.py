"""The surroundings of a mask at full size and at working size, and what is uncertain in them."""

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from bgexp.images.distances import measure_distances
from bgexp.pipeline.refinement import BoolArray, ByteArray, RefusedError


@dataclass(frozen=True, eq=False)
class Window:
    """The part of an image that a refinement works on.

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
    """Cut out the mask's bounding box with a margin around it.

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
    margin_pixels = ceil(longer * margin) + 1
    rows = slice(max(y - margin_pixels, 0), y + height + margin_pixels)
    columns = slice(max(x - margin_pixels, 0), x + width + margin_pixels)
    picture, window_mask = image[rows, columns], mask[rows, columns]
    scale = min(1.0, size / max(window_mask.shape))
    shape = max(1, round(window_mask.shape[1] * scale)), max(1, round(window_mask.shape[0] * scale))
    small = shrink(picture, shape)
    coarse = shrink(window_mask.view(np.uint8) * np.uint8(255), shape) > 127
    if not coarse.any() or coarse.all():
        raise RefusedError("the mask or its background is too thin at working size")
    return Window((rows, columns), picture, window_mask, small, coarse, longer * scale)


def shrink(picture: ByteArray, shape: tuple[int, int]) -> ByteArray:
    """Shrink a picture or plane of uint8, each pixel the mean of an area.

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


def find_bands(mask: BoolArray, *widths: float) -> list[BoolArray]:
    """Return for each width in pixels the band that near to the mask's edge, hxw bool.

    A part thinner than the band keeps the inner half of its depth outside the band, and so does
    the background. Distances do not count the image border, where the object is only cut off.
    """
    inside, outside = measure_distances(mask), measure_distances(~mask)
    parts = np.asarray(cv2.connectedComponents(mask.view(np.uint8))[1], np.int32)
    deepest = np.zeros(parts.max() + 1, np.float32)
    np.maximum.at(deepest, parts, inside)
    half, half_outside = deepest[parts] / 2, outside.max() / 2
    return [
        np.where(mask, inside <= np.minimum(width, half), outside <= min(width, half_outside))
        for width in widths
    ]


def check_length(mask: BoolArray, shortest: float) -> None:
    """Check that a refinement that looks at all of a mask at once can do justice to its parts.

    Args:
        mask: hxw bool, not empty, at working size.
        shortest: The least length of a part in pixels: the longer side of its bounding box.

    Raises:
        RefusedError: The median pixel's part is shorter: many droplets, a flock of birds.
    """
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    length = np.median(boxes[parts[mask], 2:4].max(axis=1))
    if length < shortest:
        raise RefusedError(
            f"the objects are too small at working size: {length:.0f} pixels, not {shortest:.0f}"
        )
