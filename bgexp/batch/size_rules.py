"""What is done about images that the network is not made for: huge, tiny, much elongated."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config.batch import QualityRules
from bgexp.metrics.checks import mask_checks
from bgexp.metrics.overlap import iou
from bgexp.pipeline.cutout import cut_out
from bgexp.pipeline.remove import RemovalResult

ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
Remove = Callable[[ByteArray], RemovalResult]

STABLE_IOU = 0.8  # of the two masks of an elongated image, below which they disagree


@dataclass(frozen=True, eq=False)
class SizeHandling:
    """What became of one image.

    Attributes:
        cutout: HxWx3 uint8 RGB, or HxWx4 RGBA on a transparent background.
        mask: HxW bool, True = foreground.
        checks: As `mask_checks` gives them.
        handling: What was done, in words; "" for nothing out of the ordinary.
        stable: Whether two ways of looking at an elongated image agree; True for any other.
        refused: Whether the refinement was refused.
        timings_ms: By stage.
    """

    cutout: ByteArray
    mask: BoolArray
    checks: dict[str, float]
    handling: str
    stable: bool
    refused: bool
    timings_ms: dict[str, float]


def shape_issues(width: int, height: int, rules: QualityRules) -> list[str]:
    """Which of the rules an image of this size, in pixels, falls under."""
    longer, shorter = max(width, height), min(width, height)
    found = {
        "huge": width * height > 1e6 * rules.huge_megapixels,
        "tiny": longer < rules.tiny_side,
        "elongated": longer > rules.elongation * shorter,
    }
    return [name for name, applies in found.items() if applies]


def handle(
    image: ByteArray, issues: Collection[str], rules: QualityRules, remove: Remove, background: str
) -> SizeHandling:
    """Removes the background by the rules.

    huge: the mask is found on a smaller copy and enlarged; the pixels that are kept are the
    original's. tiny: it is padded by its border to `tiny_side`, so that the network enlarges it no
    more than that. elongated: it is looked at twice, once padded, and the masks are compared.

    Args:
        image: HxWx3 uint8 RGB.
        issues: Of `shape_issues`.
        rules: Their limits.
        remove: The pipeline with its settings.
        background: Of the cut-out.
    """
    seen, done = image, []
    if "huge" in issues:
        seen = _shrunk(image, rules.huge_megapixels)
        done.append(f"mask found at {seen.shape[1]}x{seen.shape[0]} pixels")
    if "tiny" in issues:
        removed = _removed_padded(seen, rules.tiny_side, rules.tiny_side, remove)
        done.append(f"padded to {rules.tiny_side}x{rules.tiny_side} pixels")
    else:
        removed = remove(seen)
    stable = True
    if "elongated" in issues and "tiny" not in issues:
        longer = max(seen.shape[:2])
        side = round(longer / rules.elongation)
        sides = [max(side, length) for length in seen.shape[:2]]
        again = _removed_padded(seen, sides[0], sides[1], remove)
        empty = not removed.mask.any() and not again.mask.any()
        agreement = 1.0 if empty else iou(removed.mask, again.mask)
        stable = agreement >= STABLE_IOU
        done.append(f"looked at twice, once padded: the masks agree to IoU {agreement:.2f}")
    mask, cutout = removed.mask, removed.cutout
    if mask.shape != image.shape[:2]:
        scaled = cv2.resize(mask.astype(np.uint8) * 255, image.shape[1::-1])
        mask = np.asarray(scaled > 127)
        cutout = cut_out(image, mask, background)
    return SizeHandling(
        cutout=cutout,
        mask=mask,
        checks=mask_checks(removed.mask, removed.unrefined, removed.scores),
        handling="; ".join(done),
        stable=stable,
        refused=removed.refined == "refused",
        timings_ms=removed.timings_ms,
    )


def _shrunk(image: ByteArray, megapixels: float) -> ByteArray:
    scale = (1e6 * megapixels / (image.shape[0] * image.shape[1])) ** 0.5
    size = [max(1, int(length * scale)) for length in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _removed_padded(image: ByteArray, height: int, width: int, remove: Remove) -> RemovalResult:
    """What `remove` finds in the image padded by its border's pixels; cropped again."""
    down, right = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    up, left = down // 2, right // 2
    padded = cv2.copyMakeBorder(
        image, up, down - up, left, right - left, borderType=cv2.BORDER_REPLICATE
    )
    removed = remove(np.asarray(padded, np.uint8))
    inside = slice(up, up + image.shape[0]), slice(left, left + image.shape[1])
    return RemovalResult(
        cutout=removed.cutout[inside],
        mask=removed.mask[inside],
        unrefined=removed.unrefined[inside],
        found=removed.found,
        scores=removed.scores,
        refined=removed.refined,
        fallback=removed.fallback,
        timings_ms=removed.timings_ms,
    )
