"""Masks as a detector would give them, made from true ones: what the U-Net learns from."""

import cv2
import numpy as np
import numpy.typing as npt

Generator = np.random.Generator
Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

CELLS = 28  # of Mask R-CNN's masks


def coarsen_masks(image: Image, masks: Mask, rng: Generator) -> Mask:
    """Make one mask with a detector's faults: objects blurred, shifted, cut, missed; other things.

    Args:
        image: HxWx3 uint8 RGB, the picture of the objects.
        masks: NxHxW bool, the objects' visible parts; N may be 0.
        rng: The source of all randomness.

    Returns:
        HxW bool, never empty.
    """
    size = masks.shape[1:]
    n_missed = int(len(masks) > 1 and rng.random() < 0.15)
    result = np.zeros(size, bool)
    for mask in rng.permutation(masks)[n_missed:]:
        result |= _coarsen_mask(mask, rng)
    for _ in range(rng.integers(1, 4) if rng.random() < 0.3 else 0):
        result |= _coarsen_mask(_find_region(image, rng), rng)
    if rng.random() < 0.25:
        result &= ~_draw_blob(size, _find_box(result), rng)
    if rng.random() < 0.2:
        result |= _draw_blob(size, _find_box(result), rng)
    if rng.random() < 0.12 or result.sum() < 64:
        result |= _draw_blob(size, (0, 0, size[1], size[0]), rng)
    while not result.any():  # the blob lay outside
        result |= _draw_blob(size, (0, 0, size[1], size[0]), rng)
    return result


def _coarsen_mask(mask: Mask, rng: Generator) -> Mask:
    """Reduce an object's mask to 28x28 cells of an inexact box, and bring it back to full size."""
    x, y, width, height = _find_box(mask)
    errors = rng.normal(0, rng.choice([0.02, 0.05, 0.1]), 4) * (width, height, width, height)
    left, top, right, bottom = np.array([x, y, x + width, y + height]) + errors
    right, bottom = max(right, left + 8), max(bottom, top + 8)
    if rng.random() < 0.08:  # the head knows nothing but the box
        result = np.zeros(mask.shape, np.uint8)
        box = ((left + right) / 2, (top + bottom) / 2), (right - left, bottom - top), 0.0
        cv2.ellipse(result, box, 1, cv2.FILLED)
        return result.astype(bool)
    to_cells = np.array([[CELLS / (right - left), 0, 0], [0, CELLS / (bottom - top), 0]])
    to_cells[:, 2] = -to_cells[:, :2] @ (left, top) - 0.5
    sigma = max(right - left, bottom - top) / CELLS / 2
    soft = cv2.GaussianBlur(
        mask.astype(np.float32), (0, 0), max(sigma * rng.uniform(0.7, 2.5), 0.3)
    )
    cells = cv2.warpAffine(soft, to_cells, (CELLS, CELLS))
    waves = cv2.resize(
        rng.normal(0, 1, (6, 6)).astype(np.float32), (CELLS, CELLS), None, 0, 0, cv2.INTER_CUBIC
    )
    cells += waves * rng.choice([0.05, 0.15, 0.3])
    full_size = cv2.warpAffine(
        cells, to_cells, mask.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(full_size > rng.uniform(0.4, 0.6))


def _find_region(image: Image, rng: Generator) -> Mask:
    """Find a connected region of similar colours, HxW bool: what may be taken for an object."""
    height, width = image.shape[:2]
    scale = 96 / max(height, width)
    small_size = max(8, round(width * scale)), max(8, round(height * scale))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 1.5)
    filled = np.zeros((small.shape[0] + 2, small.shape[1] + 2), np.uint8)
    seed = int(rng.integers(small.shape[1])), int(rng.integers(small.shape[0]))
    tolerance = (float(rng.uniform(2, 9)),) * 3
    flags = cv2.FLOODFILL_MASK_ONLY | (1 << 8)  # the mask gets ones
    cv2.floodFill(small, filled, seed, 0, tolerance, tolerance, flags)
    full_size = cv2.resize(
        filled[1:-1, 1:-1] * 255, (width, height), interpolation=cv2.INTER_LINEAR
    )
    region = np.asarray(full_size > 127)
    if 0.005 < region.mean() < 0.5:
        return region
    return _draw_blob((height, width), (0, 0, width, height), rng)


def _find_box(mask: Mask) -> tuple[int, int, int, int]:
    """Return the bounding box as x, y, width, height; the whole picture where the mask is empty."""
    if not mask.any():
        return 0, 0, mask.shape[1], mask.shape[0]
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, width, height


def _draw_blob(size: tuple[int, ...], box: tuple[int, int, int, int], rng: Generator) -> Mask:
    """Draw an ellipse in or near a box, HxW bool."""
    x, y, width, height = box
    centre = x + width * rng.uniform(-0.1, 1.1), y + height * rng.uniform(-0.1, 1.1)
    axes = width * rng.uniform(0.1, 0.7) + 4, height * rng.uniform(0.1, 0.7) + 4
    blob = np.zeros(size, np.uint8)
    cv2.ellipse(blob, (centre, axes, float(rng.uniform(0, 180))), 1, cv2.FILLED)
    return blob.astype(bool)
