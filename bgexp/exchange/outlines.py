"""Masks to polygons: as few corners as an overlap allows, holes cut out by a slit."""

from collections import defaultdict

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.datasets.coco_masks import draw_polygons

Polygon = NDArray[np.int64]  # (N, 2), x and y of each corner, on the grid between the pixels

LEAST_IOU = 0.99
_TOLERANCES = (2.0, 1.0, 0.7, 0.0)  # pixels by which an outline may be off; 0: it is the mask's


def trace_polygons(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Return the outlines of a mask's parts, whose IoU with it is `LEAST_IOU` or more.

    Args:
        mask: HxW bool, True = foreground.

    Returns:
        A polygon for each part. Its holes are joined to it by slits of no width, as polygons of
        labelling tools have no holes.
    """
    parts = _trace_parts(mask)
    polygons: list[Polygon] = []
    for tolerance in _TOLERANCES if parts else ():
        polygons = [_join_holes([_simplify(line, tolerance) for line in part]) for part in parts]
        drawn = draw_polygons([polygon.ravel() for polygon in polygons], mask.shape)
        if np.count_nonzero(drawn & mask) >= LEAST_IOU * np.count_nonzero(drawn | mask):
            break
    return polygons


def _trace_parts(mask: NDArray[np.bool_]) -> list[list[Polygon]]:
    """Return for each part its outline and those of its holes, along the edges of pixels."""
    # OpenCV's contours go through the centres of the outermost pixels. Where each pixel is four,
    # the half tells on which side of it the edge is: 2x stands for x, 2x + 1 for x + 1.
    double = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, tree = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts: defaultdict[int, list[Polygon]] = defaultdict(list)
    for number, contour in enumerate(contours):  # a part stands before its holes
        parent = int(tree[0, number, 3])
        parts[number if parent < 0 else parent].append((contour[:, 0].astype(np.int64) + 1) // 2)
    return list(parts.values())


def _simplify(outline: Polygon, tolerance: float) -> Polygon:
    simple = cv2.approxPolyDP(outline.astype(np.int32), tolerance, closed=True)
    return simple[:, 0].astype(np.int64) if len(simple) > 2 else outline


def _join_holes(part: list[Polygon]) -> Polygon:
    """Return one polygon, which goes into each hole and back by the same way."""
    polygon, *holes = part
    for hole in holes:
        nearest = int(((polygon - hole[0]) ** 2).sum(axis=1).argmin())
        polygon = np.concatenate([polygon[: nearest + 1], hole, hole[:1], polygon[nearest:]])
    return polygon
