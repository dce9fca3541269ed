"""Masks as a detector would give them, made from true ones: what the mask network learns from."""

import cv2
import numpy as np
import numpy.typing as npt

Generator = np.random.Generator
Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CELLS = 28  # of Mask R-CNN's masks


def coarsened(masks: Mask, rng: Generator) -> Mask:
    """One mask of all objects with a detector's faults: blurred, shifted, cut, too much.

    Args:
        masks: NxHxW bool, the objects' visible parts; N may be 0.
        rng: What it follows from.

    Returns:
        HxW bool, never empty.
    """
    size = masks.shape[1:]
    result = np.zeros(size, bool)
    for mask in masks:
        result |= _detected(mask, rng)
    if rng.random() < 0.25:
        result &= ~_blob(size, _extent(result), rng)
    if rng.random() < 0.2:
        result |= _blob(size, _extent(result), rng)
    if rng.random() < 0.12 or result.sum() < 64:
        result |= _blob(size, (0, 0, size[1], size[0]), rng)
    while not result.any():  # the blob lay outside
        result |= _blob(size, (0, 0, size[1], size[0]), rng)
    return result


def _detected(mask: Mask, rng: Generator) -> Mask:
    """An object's mask in 28x28 cells of a box that is not quite right, and back at full size."""
    x, y, width, height = _extent(mask)
    wrong = rng.normal(0, rng.choice([0.02, 0.05, 0.1]), 4) * (width, height, width, height)
    left, top, right, bottom = np.array([x, y, x + width, y + height]) + wrong
    right, bottom = max(right, left + 8), max(bottom, top + 8)
    if rng.random() < 0.08:  # the head knows nothing but the box
        result = np.zeros(mask.shape, np.uint8)
        box = ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top), 0.0
        cv2.ellipse(result, box, 1, cv2.FILLED)
        return result.astype(bool)
    into = np.array([[CELLS / (right - left), 0, 0], [0, CELLS / (bottom - top), 0]])
    into[:, 2] = -into[:, :2] @ (left, top) - 0.5
    sigma = max(right - left, bottom - top) / CELLS / 2
    soft = cv2.GaussianBlur(
        mask.astype(np.float32), (0, 0), max(sigma * rng.uniform(0.7, 2.5), 0.3)
    )
    cells = cv2.warpAffine(soft, into, (CELLS, CELLS))
    waves = cv2.resize(
        rng.normal(0, 1, (6, 6)).astype(np.float32), (CELLS, CELLS), None, 0, 0, cv2.INTER_CUBIC
    )
    cells += waves * rng.choice([0.05, 0.15, 0.3])
    back = cv2.warpAffine(
        cells, into, mask.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(back > rng.uniform(0.4, 0.6))


def _extent(mask: Mask) -> tuple[int, int, int, int]:
    """The bounding box as x, y, width, height; the whole picture where the mask is empty."""
    if not mask.any():
        return 0, 0, mask.shape[1], mask.shape[0]
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, width, height


def _blob(size: tuple[int, ...], extent: tuple[int, int, int, int], rng: Generator) -> Mask:
    """A soft-edged ellipse, or all on one side of it, in or near a box."""
    x, y, width, height = extent
    centre = x + width * rng.uniform(-0.1, 1.1), y + height * rng.uniform(-0.1, 1.1)
    axes = width * rng.uniform(0.1, 0.7) + 4, height * rng.uniform(0.1, 0.7) + 4
    drawn = np.zeros(size, np.uint8)
    cv2.ellipse(drawn, (centre, axes, float(rng.uniform(0, 180))), 1, cv2.FILLED)
    return drawn.astype(bool)
