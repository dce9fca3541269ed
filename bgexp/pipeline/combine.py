"""What was found to one foreground mask: choose, paste, unite, or cut a soft mask; then clean."""

from collections.abc import Iterator
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


def combine_found(found: DetectorOutput, settings: Combine = _DEFAULTS) -> CombinedMask:
    """One mask of whatever a detector found."""
    if isinstance(found, SoftMask):
        return cut_soft_mask(found, settings)
    return combine_detections(found, settings)


def cut_soft_mask(soft: SoftMask, settings: Combine = _DEFAULTS) -> CombinedMask:
    """What of a soft mask is above the threshold; `instances` does not apply to it."""
    plane = soft.mask > 255 * settings.mask_threshold
    _clean(plane, settings.fill_holes * plane.size, settings.min_area * plane.size)
    return CombinedMask(plane, np.zeros(0, np.int64))


def combine_detections(detections: Detections, settings: Combine = _DEFAULTS) -> CombinedMask:
    """Unites the detections that the settings choose into one mask.

    Memory is the mask and one window of a box: never a plane for each detection.
    """
    used = _chosen(detections, settings)
    plane = np.zeros((detections.height, detections.width), dtype=np.bool_)
    for pasted in _pasted(detections, used, settings.mask_threshold):
        plane[pasted.where] |= pasted.window
    _clean(plane, settings.fill_holes * plane.size, settings.min_area * plane.size)
    return CombinedMask(plane, used)


def select_detections(detections: Detections, selection: Selection) -> Detections:
    """The detections that count: the one place where a score threshold is applied."""
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
    """Places one soft mask in the image as torchvision's `paste_masks_in_image` does.

    That is: one cell of zeros around the mask, the box grown to match and truncated to whole
    pixels, bilinear interpolation without aligned corners, clipped to the image.

    Args:
        mask: MxM uint8, 0 to 255 for 0 to 1, relative to the box.
        box: (4,) float32; x1, y1, x2, y2 in pixels of the image.
        size: Height and width of the image in pixels.
        threshold: A pixel is True where the interpolated mask is above it; 0 to 1.
    """
    left, top, right, bottom = _grown(box, mask.shape[0])
    shape = max(right - left + 1, 1), max(bottom - top + 1, 1)
    cells = np.pad(mask, 1).astype(np.float32)
    soft = cv2.resize(cells, shape, interpolation=cv2.INTER_LINEAR)
    rows, columns = _inside(top, bottom, size[0]), _inside(left, right, size[1])
    window = soft[_shifted(rows, top), _shifted(columns, left)] > 255 * float(threshold)
    return PastedMask((rows, columns), window)


def _grown(box: NDArray[np.float32], cells: int) -> tuple[int, int, int, int]:
    """The box of the padded mask: x1, y1, x2, y2 truncated toward zero, as torchvision does."""
    half = (box[2:] - box[:2]) * np.float32(0.5) * np.float32((cells + 2) / cells)
    centre = (box[2:] + box[:2]) * np.float32(0.5)
    corners = np.concatenate([centre - half, centre + half]).astype(np.int64)
    left, top, right, bottom = corners.tolist()
    return left, top, right, bottom


def _inside(first: int, last: int, limit: int) -> slice:
    """The pixels from first to last, both included, that the image has; maybe none."""
    start = min(max(first, 0), limit)
    return slice(start, max(min(last + 1, limit), start))


def _shifted(pixels: slice, origin: int) -> slice:
    return slice(pixels.start - origin, pixels.stop - origin)


def _pasted(
    detections: Detections, which: NDArray[np.int64], threshold: float
) -> Iterator[PastedMask]:
    size = (detections.height, detections.width)
    for i in which:
        yield paste_mask(detections.masks[i], detections.boxes[i], size, threshold)


def _chosen(detections: Detections, settings: Combine) -> NDArray[np.int64]:
    """Indices of the detections that go into the mask."""
    which = np.arange(len(detections))
    if settings.instances == "all" or len(detections) == 0:
        return which
    if settings.instances == "largest":
        pasted = _pasted(detections, which, settings.mask_threshold)
        best = np.argmax([np.count_nonzero(one.window) for one in pasted])
    else:
        best = np.argmin(_off_centre(detections))
    return which[[best]]


def _off_centre(detections: Detections) -> NDArray[np.float64]:
    """(N,) distances in pixels from each box's centre to the image's."""
    left, top, right, bottom = detections.boxes.astype(np.float64).T
    off = np.hypot(left + right - detections.width, top + bottom - detections.height) / 2
    return np.asarray(off, np.float64)


def _clean(plane: BoolArray, largest_hole: float, smallest_part: float) -> None:
    """Removes small parts and fills small holes in place; limits in pixels.

    Contours were measured at a twentieth of the time of labelled components, with no int32 plane.
    Both areas are those of the closed outline, so neither step depends on the other.
    """
    if largest_hole < 1 and smallest_part <= 1:
        return
    drawn = plane.view(np.uint8)
    contours, tree = cv2.findContours(drawn, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = tree[0, :, 3].tolist() if len(contours) else []
    gone = {
        i
        for i, parent in enumerate(parents)
        if parent < 0 and _area(contours[i], hole=False) < smallest_part
    }
    cv2.drawContours(drawn, [contours[i] for i in gone], -1, 0, cv2.FILLED)
    for i, parent in enumerate(parents):
        hole = parent >= 0 and parent not in gone
        if hole and _area(contours[i], hole=True) <= largest_hole:
            cv2.drawContours(drawn, contours, i, 1, cv2.FILLED)


def _area(contour: MatLike, *, hole: bool) -> float:
    """Pixels in a part with its holes filled, or in a hole, by Pick's theorem."""
    steps = len(contour) if len(contour) > 1 else 0
    return cv2.contourArea(contour) + (-steps if hole else steps) / 2 + 1
