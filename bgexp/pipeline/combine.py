"""A detector's output to one foreground mask: choose, paste, unite, or cut a soft mask; clean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from bgexp.config.stages import Combine
from bgexp.detect.detections import Detections, DetectorOutput, Selection, SoftMask

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CombinedMask:
    """One foreground mask and where it comes from.

    Attributes:
        mask: HxW bool, True = foreground.
        used: (K,) int64; indices of the detections in the mask; none of a soft mask.
    """

    mask: BoolArray
    used: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PastedMask:
    """The part of a full-size mask that a box can touch; False everywhere else.

    Attributes:
        where: Rows and columns of the image.
        window: hxw bool, the pixels there.
    """

    where: tuple[slice, slice]
    window: BoolArray


_DEFAULTS = Combine()


def combine_output(output: DetectorOutput, settings: Combine = _DEFAULTS) -> CombinedMask:
    """Make one mask of a detector's output, detections or a soft mask."""
    if isinstance(output, SoftMask):
        return cut_soft_mask(output, settings)
    return combine_detections(output, settings)


def cut_soft_mask(soft: SoftMask, settings: Combine = _DEFAULTS) -> CombinedMask:
    """Cut a soft mask at the threshold; `instances` does not apply to it."""
    mask = soft.mask > 255 * settings.mask_threshold
    _clean(mask, settings.fill_holes * mask.size, settings.min_area * mask.size)
    return CombinedMask(mask, np.zeros(0, np.int64))


def combine_detections(detections: Detections, settings: Combine = _DEFAULTS) -> CombinedMask:
    """Unite the detections that the settings choose into one mask.

    Memory is the mask and one window of a box: never a plane for each detection.
    """
    indices = _choose_detections(detections, settings)
    mask = np.zeros((detections.height, detections.width), dtype=np.bool_)
    for pasted in _paste_masks(detections, indices, settings.mask_threshold):
        mask[pasted.where] |= pasted.window
    _clean(mask, settings.fill_holes * mask.size, settings.min_area * mask.size)
    return CombinedMask(mask, indices)


def count_exceeded_thresholds(
    output: DetectorOutput, settings: Combine, thresholds: Sequence[float]
) -> NDArray[np.uint8]:
    """Count how many thresholds each pixel exceeds, HxW uint8: the masks of all at once.

    That of `thresholds[n]` is where the count is above n. It is neither cleaned nor refined.

    Args:
        output: What the detector found.
        settings: Which of the detections count.
        thresholds: At most 255, rising, 0 to 1.
    """
    if isinstance(output, SoftMask):
        return _count_exceeded(output.mask, thresholds)
    counts = np.zeros((output.height, output.width), np.uint8)
    for i in _choose_detections(output, settings):
        where, soft = _paste_soft_mask(output.masks[i], output.boxes[i], counts.shape)
        np.maximum(counts[where], _count_exceeded(soft, thresholds), out=counts[where])
    return counts


def _count_exceeded(
    soft: NDArray[np.uint8] | NDArray[np.float32], thresholds: Sequence[float]
) -> NDArray[np.uint8]:
    counts = np.zeros(soft.shape, np.uint8)
    for threshold in thresholds:
        counts += soft > 255 * float(threshold)
    return counts


def select_detections(detections: Detections, selection: Selection) -> Detections:
    """Select the detections that count: the only place where a score threshold is applied."""
    if selection.labels is not None:
        detections = detections.select(np.isin(detections.labels, list(selection.labels)))
    counts = detections.scores > float(selection.score_threshold)
    if selection.score_fallback is not None and not counts.any():
        best = detections.scores.argsort()[-1:]
        return detections.select(best[detections.scores[best] > float(selection.score_fallback)])
    return detections.select(counts)


def paste_mask(
    mask: NDArray[np.uint8], box: NDArray[np.float32], size: tuple[int, int], threshold: float
) -> PastedMask:
    """Place one soft mask in the image as torchvision's `paste_masks_in_image` does.

    That is: one cell of zeros around the mask, the box grown to match and truncated to whole
    pixels, bilinear interpolation without aligned corners, clipped to the image.

    Args:
        mask: MxM uint8, 0 to 255 for 0 to 1, relative to the box.
        box: (4,) float32; x1, y1, x2, y2 in pixels of the image.
        size: Height and width of the image in pixels.
        threshold: A pixel is True where the interpolated mask is above it; 0 to 1.
    """
    where, soft = _paste_soft_mask(mask, box, size)
    return PastedMask(where, soft > 255 * float(threshold))


def _paste_soft_mask(
    mask: NDArray[np.uint8], box: NDArray[np.float32], size: tuple[int, int]
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """Return rows and columns of the image that a box can touch, and their values, 0 to 255."""
    left, top, right, bottom = _grow_box(box, mask.shape[0])
    shape = max(right - left + 1, 1), max(bottom - top + 1, 1)
    cells = np.pad(mask, 1).astype(np.float32)
    soft = cv2.resize(cells, shape, interpolation=cv2.INTER_LINEAR)
    rows, columns = _clip_pixels(top, bottom, size[0]), _clip_pixels(left, right, size[1])
    window = soft[_shift_pixels(rows, top), _shift_pixels(columns, left)]
    return (rows, columns), np.asarray(window, np.float32)


def _grow_box(box: NDArray[np.float32], cells: int) -> tuple[int, int, int, int]:
    """Return the box of the padded mask: x1, y1, x2, y2 truncated toward 0, as in torchvision."""
    half = (box[2:] - box[:2]) * np.float32(0.5) * np.float32((cells + 2) / cells)
    centre = (box[2:] + box[:2]) * np.float32(0.5)
    corners = np.concatenate([centre - half, centre + half]).astype(np.int64)
    left, top, right, bottom = corners.tolist()
    return left, top, right, bottom


def _clip_pixels(first: int, last: int, limit: int) -> slice:
    """Clip the pixels from first to last, both included, to those of the image; maybe none."""
    start = min(max(first, 0), limit)
    return slice(start, max(min(last + 1, limit), start))


def _shift_pixels(pixels: slice, origin: int) -> slice:
    return slice(pixels.start - origin, pixels.stop - origin)


def _paste_masks(
    detections: Detections, indices: NDArray[np.int64], threshold: float
) -> Iterator[PastedMask]:
    size = (detections.height, detections.width)
    for i in indices:
        yield paste_mask(detections.masks[i], detections.boxes[i], size, threshold)


def _choose_detections(detections: Detections, settings: Combine) -> NDArray[np.int64]:
    """Return the indices of the detections that go into the mask."""
    indices = np.arange(len(detections))
    if settings.instances == "all" or len(detections) == 0:
        return indices
    if settings.instances == "largest":
        pasted = _paste_masks(detections, indices, settings.mask_threshold)
        best = np.argmax([np.count_nonzero(mask.window) for mask in pasted])
    else:
        left, top, right, bottom = detections.boxes.T
        to_centre = left + right - detections.width, top + bottom - detections.height  # twice
        best = np.argmin(np.hypot(*to_centre))
    return indices[[best]]


def _clean(mask: BoolArray, largest_hole: float, smallest_part: float) -> None:
    """Remove small parts and fill small holes in place; limits in pixels.

    Contours were measured at a twentieth of the time of labelled components, with no int32 plane.
    Both areas are those of the closed outline, so neither step depends on the other.
    """
    if largest_hole < 1 and smallest_part <= 1:
        return
    pixels = mask.view(np.uint8)
    contours, tree = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0, :, 3].tolist() if len(contours) else []
    removed = {
        i
        for i, parent in enumerate(parents)
        if parent < 0 and _measure_area(contours[i], hole=False) < smallest_part
    }
    cv2.drawContours(pixels, [contours[i] for i in removed], -1, 0, cv2.FILLED)
    for i, parent in enumerate(parents):
        hole = parent >= 0 and parent not in removed
        if hole and _measure_area(contours[i], hole=True) <= largest_hole:
            cv2.drawContours(pixels, contours, i, 1, cv2.FILLED)


def _measure_area(contour: MatLike, *, hole: bool) -> float:
    """Count the pixels in a part with its holes filled, or in a hole, by Pick's theorem."""
    steps = len(contour) if len(contour) > 1 else 0
    return cv2.contourArea(contour) + (-steps if hole else steps) / 2 + 1
