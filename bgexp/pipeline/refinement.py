"""What comes out of a refinement, and when the mask that went in is kept instead."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Refinement:
    """A mask after its refinement, applied or not.

    Attributes:
        mask: HxW bool, True = foreground; the one that came in where not applied.
        status: "off": none was asked for. "applied": it is the refined one. "skipped": there is
            nothing to refine. "refused": it was tried, and failed or is not credible.
        reason: Why it was skipped or refused; else empty.
    """

    mask: BoolArray
    status: Literal["off", "applied", "skipped", "refused"]
    reason: str = ""


class RefusedError(Exception):
    """The mask cannot be refined, or the result is not credible; the text says why."""


def try_refinement(
    image: ByteArray, mask: BoolArray, refine: Callable[[ByteArray, BoolArray], BoolArray]
) -> Refinement:
    """Check image and mask, refine the mask, and keep it where it cannot be refined.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        refine: Takes a contiguous image and mask, returns the refined mask; changes neither.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image: expected (h, w, 3) uint8, got {image.shape} {image.dtype}")
    if mask.shape != image.shape[:2] or mask.dtype != np.bool_:
        raise ValueError(f"mask: expected {image.shape[:2]} bool, got {mask.shape} {mask.dtype}")
    if not mask.any() or mask.all():
        reason = "the mask fills the image" if mask.any() else "the mask is empty"
        return Refinement(mask, "skipped", reason)
    try:
        return Refinement(
            refine(np.ascontiguousarray(image), np.ascontiguousarray(mask)), "applied"
        )
    except RefusedError as refusal:
        return Refinement(mask, "refused", str(refusal))
    except cv2.error as error:
        return Refinement(mask, "refused", f"OpenCV failed: {error}".strip())
