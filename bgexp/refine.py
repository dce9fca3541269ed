"""A coarse mask to one that follows the image's edges, by GrabCut in a narrow band.

Rother et al., "GrabCut", SIGGRAPH 2004; back to full size by He, Sun, "Fast Guided Filter", 2015.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from bgexp.config import GrabCut

BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]

# Background beyond the band that GrabCut learns from, as a share of the object's longer side.
_CONTEXT = 0.1
# The guided filter's window in working pixels and its smoothing in squared grey levels of 0 to 1.
_WINDOW = (3, 3)
_SMOOTHING = 1e-3


@dataclass(frozen=True, eq=False)
class Refined:
    """The mask to use from here on.

    Attributes:
        mask: HxW bool, True = foreground; the one that came in where not applied.
        applied: Whether it is the refined one.
        reason: Why it is not; empty where it is.
    """

    mask: BoolArray
    applied: bool
    reason: str = ""


class _RefusedError(Exception):
    """The mask cannot be refined, or the result is not credible; the text says why."""


_DEFAULTS = GrabCut()


def refine_mask_grabcut(
    image: ByteArray, mask: BoolArray, settings: GrabCut = _DEFAULTS, *, seed: int = 0
) -> Refined:
    """Moves the mask's edge to the image's, inside a band around it; the rest stays bit-equal.

    Repeats are bit-equal, in any thread. Where refinement is impossible or its result not
    credible, the mask comes back as it was, with the reason.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: How.
        seed: Of GrabCut's colour clustering.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: expected (h, w, 3) uint8, got {image.shape} {image.dtype}")
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"mask: expected {image.shape[:2]} bool, got {mask.shape} {mask.dtype}")
    image, solid = np.ascontiguousarray(image), np.ascontiguousarray(mask)
    try:
        return Refined(_refined(image, solid, settings, seed), applied=True)
    except _RefusedError as refusal:
        return Refined(mask, applied=False, reason=str(refusal))
    except cv2.error as error:
        return Refined(mask, applied=False, reason=f"GrabCut failed: {error}".strip())


def _refined(image: ByteArray, mask: BoolArray, settings: GrabCut, seed: int) -> BoolArray:
    if not mask.any() or mask.all():
        raise _RefusedError("the mask fills the image" if mask.any() else "the mask is empty")
    where, band = _surroundings(mask, settings.band)
    picture, old = image[where], mask[where]
    scale = min(1.0, settings.size / max(old.shape))
    small, coarse = _shrunk(picture, old, scale)
    regions = _regions(coarse, max(band * scale, 1.0))  # the edge's own pixels at least
    found = _grabcut(small, regions, settings.iterations, seed)
    new = _enlarged(picture, small, found, regions, old)
    changed = np.count_nonzero(new ^ old) / np.count_nonzero(old)
    if changed > settings.max_change:
        raise _RefusedError(f"it would change {changed:.0%} of the mask")
    result = mask.copy()
    result[where] = new
    return result


def _surroundings(mask: BoolArray, band: float) -> tuple[tuple[slice, slice], float]:
    """Rows and columns around the mask with background to learn from; the band in pixels."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    longer = max(width, height)
    margin = ceil(longer * (band + _CONTEXT)) + 1
    rows = slice(max(y - margin, 0), y + height + margin)
    columns = slice(max(x - margin, 0), x + width + margin)
    return (rows, columns), band * longer


def _shrunk(picture: ByteArray, mask: BoolArray, scale: float) -> tuple[ByteArray, BoolArray]:
    """Both at working size: hxwx3 uint8 and hxw bool."""
    height, width = (max(1, round(side * scale)) for side in mask.shape)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    most = cv2.resize(mask.view(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.asarray(most, np.bool_)  # 0 or 1, rounded


def _regions(mask: BoolArray, band: float) -> ByteArray:
    """GrabCut's labels: sure beyond the band on both sides of the edge, else as the mask says.

    A part thinner than the band keeps the inner half of its depth as sure foreground, and so does
    the background. Distances do not count the image border, where the object is only cut off.
    """
    if not mask.any() or mask.all():
        raise _RefusedError("the mask or its background is too thin at working size")
    inside, outside = _depth(mask), _depth(~mask)
    parts = np.asarray(cv2.connectedComponents(mask.view(np.uint8))[1], np.int32)
    deepest = np.zeros(parts.max() + 1, np.float32)
    np.maximum.at(deepest, parts, inside)
    regions = np.where(mask, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    regions[inside > np.minimum(band, deepest / 2)[parts]] = cv2.GC_FGD
    regions[outside > min(band, outside.max() / 2)] = cv2.GC_BGD
    return regions


def _depth(mask: BoolArray) -> NDArray[np.float32]:
    """Of each True pixel, the distance in pixels to the nearest False one."""
    depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(depth, np.float32)


def _grabcut(small: ByteArray, regions: ByteArray, iterations: int, seed: int) -> BoolArray:
    """The foreground at working size, hxw bool."""
    labels, back, front = regions.copy(), np.zeros((1, 65)), np.zeros((1, 65))
    # The generator belongs to the thread: seeded here, no other work can come in between.
    cv2.setRNGSeed(seed)
    cv2.grabCut(small, labels, (0, 0, 0, 0), back, front, iterations, cv2.GC_INIT_WITH_MASK)
    found = np.asarray(labels % 2, np.bool_)  # sure or probable foreground: 1 and 3
    decided = found[regions >= cv2.GC_PR_BGD]
    if decided.all() or not decided.any():
        raise _RefusedError("GrabCut found no edge in the band")
    return found


def _enlarged(
    picture: ByteArray, small: ByteArray, found: BoolArray, regions: ByteArray, old: BoolArray
) -> BoolArray:
    """The small result at full size inside the band, along the picture's edges; else the old."""
    if found.shape == old.shape:
        return found
    size = old.shape[::-1]
    gain, offset = _guided(small, found)
    share = np.asarray(cv2.resize(gain, size, interpolation=cv2.INTER_LINEAR), np.float32)
    share *= np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    share += np.asarray(cv2.resize(offset, size, interpolation=cv2.INTER_LINEAR), np.float32)
    unsure = (regions >= cv2.GC_PR_BGD).view(np.uint8)
    band = cv2.resize(unsure, size, interpolation=cv2.INTER_NEAREST)
    new = old.copy()
    cv2.copyTo((share > 0.5).view(np.uint8), band, new.view(np.uint8))
    return new


def _guided(small: ByteArray, found: BoolArray) -> tuple[MatLike, MatLike]:
    """Gain and offset, hxw each: the mask is about gain times grey level (0 to 255) plus offset."""
    mean = partial(cv2.blur, ksize=_WINDOW)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    share = found.astype(np.float32)
    variance = mean(grey * grey) - mean(grey) ** 2
    gain = (mean(grey * share) - mean(grey) * mean(share)) / (variance + _SMOOTHING * 255**2)
    return mean(gain), mean(mean(share) - gain * mean(grey))
