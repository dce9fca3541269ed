"""The pictures of a run's tracked table."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bgexp.experiment.results import ImageResult
from bgexp.images.decode import make_thumbnail
from bgexp.pipeline.remove import RemovalResult

# Rows with pictures in the tracked table, at 15 ms each for every job; their longer side.
TABLE_IMAGES, TABLE_PIXELS = 30, 340


Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def shrink_pair(removed: RemovalResult) -> Pair:
    """Shrink the cut-out and the mask of an image for the table, HxWx3 uint8 RGB each."""
    mask = removed.mask.astype(np.uint8) * np.uint8(255)
    return _place_in_square(removed.cutout[..., :3]), _place_in_square(mask)


def build_picture_table(
    rows: Sequence[ImageResult], pairs: Mapping[str, Pair]
) -> dict[str, list[object]]:
    """Build the table of the rows that have pictures, by columns.

    Args:
        rows: The rows of the run.
        pairs: Cut-out and mask by path.
    """
    pictured = [row for row in rows if row.path in pairs]
    columns: dict[str, list[object]] = {
        "path": [row.path for row in pictured],
        "cutout": [pairs[row.path][0] for row in pictured],
        "mask": [pairs[row.path][1] for row in pictured],
    }
    for key in ("iou", "boundary_iou", "foreground_recall", "background_leakage"):
        columns[key] = [round(row.metrics.get(key, math.nan), 4) for row in pictured]
    for key in ("coverage", "parts", "confidence"):
        columns[key] = [round(row.checks.get(key, math.nan), 4) for row in pictured]
    return columns


def _place_in_square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place a small picture in the upper half of a white square: HxW or HxWx3 to SxSx3 uint8.

    The tracking UI centres a picture in a square and shows the square's upper half.
    """
    tallness = picture.shape[0] / max(picture.shape[:2])
    small = make_thumbnail(picture, int(TABLE_PIXELS * min(1, 0.5 / tallness)))
    cell = np.full((TABLE_PIXELS, TABLE_PIXELS, 3), 255, np.uint8)
    cell[: small.shape[0], : small.shape[1]] = small if small.ndim == 3 else small[..., None]
    return cell
