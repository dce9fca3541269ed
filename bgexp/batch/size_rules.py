"""Handling of images that the network is not made for: huge, tiny, much elongated."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config.batch import QualityRules
from bgexp.config.stages import Cutout
from bgexp.metrics.checks import check_mask
from bgexp.metrics.overlap import iou
from bgexp.pipeline.cutout import cut_out_by_settings, find_crop
from bgexp.pipeline.remove import RemovalResult

ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
Remove = Callable[[ByteArray], RemovalResult]

STABLE_IOU = 0.8  # the two masks of an elongated image disagree below this IoU


@dataclass(frozen=True, eq=False)
class SizeHandling:
    """The result of one image, and what the size rules did to it.

    Attributes:
        cutout: HxWx3 uint8 RGB, or HxWx4 RGBA on a transparent background.
        mask: HxW bool, True = foreground.
        alpha: HxW uint8, how much of a pixel was kept; None where the edge is hard.
        checks: As `check_mask` returns them.
        handling: What was done, in words; "" for nothing out of the ordinary.
        stable: Whether the two masks of an elongated image agree; True for any other image.
        refused: Whether the refinement was refused.
        timings_ms: Milliseconds by stage.
    """

    cutout: ByteArray
    mask: BoolArray
    alpha: ByteArray | None
    checks: dict[str, float]
    handling: str
    stable: bool
    refused: bool
    timings_ms: dict[str, float]

    def crop(self, margin: float | None) -> tuple[ByteArray, BoolArray, ByteArray | None]:
        """Crop cut-out, mask and alpha to the foreground; None leaves them whole."""
        if margin is None:
            return self.cutout, self.mask, self.alpha
        box = find_crop(self.mask if self.alpha is None else self.alpha, margin)
        alpha = None if self.alpha is None else self.alpha[box]
        return self.cutout[box], self.mask[box], alpha


def handle_size(
    image: ByteArray, issues: Collection[str], rules: QualityRules, remove: Remove, cutout: Cutout
) -> SizeHandling:
    """Remove the background by the rules.

    huge: the mask is found on a smaller copy and enlarged; foreground pixels are the original's.
    tiny: the image is padded by its border to `tiny_side`, so that the network enlarges it no more
    than that. elongated: it is processed twice, once padded, and the masks are compared.

    Args:
        image: HxWx3 uint8 RGB.
        issues: As `find_shape_issues` returns them.
        rules: The limits.
        remove: The pipeline with its settings.
        cutout: Background and edge of the cut-out.
    """
    scaled_image, steps = image, []
    if "huge" in issues:
        scaled_image = _shrink_image(image, rules.huge_megapixels)
        steps.append(f"mask found at {scaled_image.shape[1]}x{scaled_image.shape[0]} pixels")
    if "tiny" in issues:
        result = _remove_padded(scaled_image, rules.tiny_side, rules.tiny_side, remove)
        steps.append(f"padded to {rules.tiny_side}x{rules.tiny_side} pixels")
    else:
        result = remove(scaled_image)
    stable = True
    if "elongated" in issues and "tiny" not in issues:
        longer = max(scaled_image.shape[:2])
        side = round(longer / rules.elongation)
        sides = [max(side, length) for length in scaled_image.shape[:2]]
        padded_result = _remove_padded(scaled_image, sides[0], sides[1], remove)
        both_empty = not result.mask.any() and not padded_result.mask.any()
        agreement = 1.0 if both_empty else iou(result.mask, padded_result.mask)
        stable = agreement >= STABLE_IOU
        steps.append(f"looked at twice, once padded: the masks agree to IoU {agreement:.2f}")
    mask, pixels, alpha = result.mask, result.cutout, result.alpha
    if mask.shape != image.shape[:2]:
        enlarged = cv2.resize(mask.astype(np.uint8) * 255, image.shape[1::-1])
        mask = np.asarray(enlarged > 127)
        pixels, alpha = cut_out_by_settings(image, mask, cutout)
    return SizeHandling(
        cutout=pixels,
        mask=mask,
        alpha=alpha,
        checks=check_mask(result.mask, result.unrefined, result.scores),
        handling="; ".join(steps),
        stable=stable,
        refused=result.refined == "refused",
        timings_ms=result.timings_ms,
    )


def _shrink_image(image: ByteArray, megapixels: float) -> ByteArray:
    scale = (1e6 * megapixels / (image.shape[0] * image.shape[1])) ** 0.5
    size = [max(1, int(length * scale)) for length in image.shape[1::-1]]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _remove_padded(image: ByteArray, height: int, width: int, remove: Remove) -> RemovalResult:
    """Run `remove` on the image padded by its border's pixels; crop the result again."""
    down, right = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    up, left = down // 2, right // 2
    padded = cv2.copyMakeBorder(
        image, up, down - up, left, right - left, borderType=cv2.BORDER_REPLICATE
    )
    result = remove(np.asarray(padded, np.uint8))
    inside = slice(up, up + image.shape[0]), slice(left, left + image.shape[1])
    return replace(
        result,
        cutout=result.cutout[inside],
        mask=result.mask[inside],
        unrefined=result.unrefined[inside],
        alpha=None if result.alpha is None else result.alpha[inside],
    )
