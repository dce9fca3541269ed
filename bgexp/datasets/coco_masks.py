"""The masks of COCO annotations, as runs and as one foreground mask.

Nothing from a file reaches pycocotools unchecked: its C code trusts its arguments, so that runs
which do not add up, or a polygon of absurd extent, would end the process.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pydantic_core import from_json

from bgexp.datasets.coco import Annotation, CocoImage
from bgexp.images.decode import ImageError

Runs = dict[str, Any]  # as pycocotools encodes a mask: size [H, W], counts bytes

_LONGEST = 2e6  # pixels; rleFrPoly takes about 40 bytes a pixel of a polygon's outline


def decode_truth(image: CocoImage, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the union of an image's masks as HxW bool, True = foreground.

    Crowds are in it: a crowd is many objects that nobody outlined one by one, and no background.

    Args:
        image: The annotations; without any, nothing is foreground.
        size: Height and width of the upright image in pixels.

    Raises:
        ImageError: They are of an image of another size, or one of them is invalid.
    """
    masks = encode_masks(image, size)
    return _decode_runs(mask.merge(masks), size) if masks else np.zeros(size, np.bool_)


def decode_instances(
    image: CocoImage, size: tuple[int, int]
) -> dict[int | None, NDArray[np.bool_]]:
    """Return the mask of each single object by its annotation's id, HxW bool; no crowds.

    Arguments and errors as in `decode_truth`.
    """
    masks = zip(image.annotations, encode_masks(image, size), strict=True)
    return {a.id: _decode_runs(runs, size) for a, runs in masks if not a.iscrowd}


def encode_masks(image: CocoImage, size: tuple[int, int]) -> list[Runs]:
    """Return the mask of each annotation; arguments and errors as in `decode_truth`."""
    if image.problem:
        raise ImageError(image.problem)
    if (image.height, image.width) != size:
        height, width = size
        sizes = f"{image.width}x{image.height} pixels, the upright image {width}x{height}"
        raise ImageError(f"its annotations are of {sizes}")
    return [_encode_annotation(annotation, size) for annotation in image.annotations]


def encode_runs(changes: NDArray[np.int64], size: tuple[int, int]) -> Runs:
    """Return a mask from the pixels at which it changes, counted down the columns, from False.

    A pixel that is named twice is no change: pycocotools stops at a run of no length.
    """
    pixels, repeats = np.unique(changes, return_counts=True)
    pixels = pixels[(repeats % 2 == 1) & (pixels < size[0] * size[1])]
    counts = np.diff(pixels, prepend=0, append=size[0] * size[1])
    runs: Runs = mask.frPyObjects({"size": list(size), "counts": counts}, *size)
    return runs


def encode_mask_runs(pixels: NDArray[np.bool_]) -> Runs:
    """Return a mask, HxW bool, as pycocotools encodes it."""
    changes = np.flatnonzero(np.diff(pixels.T.ravel(), prepend=False))
    return encode_runs(changes, (pixels.shape[0], pixels.shape[1]))


def draw_polygons(
    polygons: Sequence[NDArray[np.number]], size: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return the mask of all polygons, HxW bool, as pycocotools fills them.

    Args:
        polygons: At least one; (2N,), x and y of each corner in pixels.
        size: Height and width of the image in pixels.
    """
    height, width = size
    return _decode_runs(_encode_polygons(list(polygons), (height, width)), (height, width))


def _decode_runs(runs: Runs, size: tuple[int, int]) -> NDArray[np.bool_]:
    # Not by pycocotools' decode(), which warns with numpy 2.
    counts = _parse_runs(runs["counts"].decode())
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(pixels.reshape(size[::-1]).T)


def _encode_annotation(annotation: Annotation, size: tuple[int, int]) -> Runs:
    content = from_json(annotation.segmentation)
    try:
        encode = _encode_runs if isinstance(content, dict) else _encode_polygons
        return encode(content, size)
    except ValueError as error:
        raise ImageError(f"its annotation {annotation.id}: {error}") from error


def _encode_polygons(polygons: object, size: tuple[int, int]) -> Runs:
    if not isinstance(polygons, list) or not polygons:
        raise ValueError("no mask")
    runs: Runs = mask.merge(
        mask.frPyObjects([_check_polygon(polygon) for polygon in polygons], *size)
    )
    return runs


def _check_polygon(polygon: object) -> NDArray[np.float64]:
    """Return a polygon as (2N,) float64: x and y of each corner."""
    try:
        corners = np.array(polygon, np.float64)
    except (
        ValueError,
        TypeError,
        OverflowError,
    ):  # their messages quote the polygon, of any length
        corners = np.empty(0)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError("a polygon that is no list of three or more x, y")
    points = corners.reshape(-1, 2)
    steps = np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1)
    # With `not`, so that NaN fails too.
    if not (np.abs(points).max() < _LONGEST and steps.sum() < _LONGEST):
        raise ValueError(f"a polygon further out or longer than {_LONGEST:,.0f} pixels")
    return corners


def _encode_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> Runs:
    if segmentation.get("size") != list(size):
        raise ValueError("runs of another size than the image")
    counts = segmentation.get("counts")
    runs = np.array(_parse_runs(counts) if isinstance(counts, str) else counts)
    area = size[0] * size[1]
    is_valid = runs.dtype.kind in "iu" and runs.ndim == 1 and runs.min() >= 0 and runs.max() <= area
    if not is_valid or runs.sum() != area:
        raise ValueError("runs that do not add up to the image")
    return encode_runs(np.cumsum(runs[:-1]), size)


def _parse_runs(text: str) -> list[int]:
    """Return the runs that COCO writes as text, as rleFrString in pycocotools reads them.

    Five bits a character, the lowest first, a sixth says that more follow; from the fourth run on
    the difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 35:
            raise ValueError("runs in no text of COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("runs that end within a number")
    return runs
