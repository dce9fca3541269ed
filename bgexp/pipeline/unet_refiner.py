"""A coarse mask to a fine one by a small network that sees the picture around it.

GrabCut goes before and after: the network knows objects, GrabCut the colours of this one picture.
"""

from functools import partial
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import GrabCut, UNet
from bgexp.pipeline.grabcut import refine_mask_grabcut
from bgexp.pipeline.refinement import BoolArray, ByteArray, Refinement, RefusedError, try_refinement
from bgexp.pipeline.working_window import check_length, shrink

STRIDE = 32  # the sides of what the network sees are multiples of this

# GrabCut's band after the network, whose edges are nearly right, and its working size as a share
# of the network's. GrabCut before the network costs people 0.02 of IoU.
_BAND, _AFTER = 0.01, 0.5
_SHORTEST = 40  # pixels of the network; it was trained on subjects, and loses many small objects
_DEFAULTS = UNet()


class MaskPredictor(Protocol):
    """A network that makes fine masks from coarse ones."""

    def predict(self, picture: ByteArray, coarse: ByteArray) -> NDArray[np.float32]:
        """Compute the share of foreground, h/2 x w/2 float32 in [0, 1].

        Args:
            picture: hxwx3 uint8 RGB; h and w are multiples of 32.
            coarse: hxw uint8, the coarse mask, 0 to 255.
        """
        ...


def refine_mask_unet(
    image: ByteArray,
    mask: BoolArray,
    predictor: MaskPredictor,
    settings: UNet = _DEFAULTS,
) -> Refinement:
    """Predict a new mask from the picture around the coarse one, of which no pixel is fixed.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        predictor: The network.
        settings: How.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    return try_refinement(
        image, mask, partial(_refine_window, predictor=predictor, settings=settings)
    )


def find_surroundings(mask: BoolArray, margin: float) -> tuple[slice, slice]:
    """Return rows and columns of the mask's box with a margin, as square as the picture allows.

    Args:
        mask: HxW bool, not empty.
        margin: A share of the longer side of the box.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    side = round(max(width, height) * (1 + 2 * margin)) + 2
    return _stretch(y, height, side, mask.shape[0]), _stretch(x, width, side, mask.shape[1])


def _stretch(start: int, length: int, side: int, limit: int) -> slice:
    """Make a range `side` long around its middle, moved inward at the limits, at most all."""
    first = min(max(start - (side - length) // 2, 0), max(limit - side, 0))
    return slice(first, min(first + side, limit))


def _refine_window(
    image: ByteArray, mask: BoolArray, predictor: MaskPredictor, settings: UNet
) -> BoolArray:
    where = find_surroundings(mask, settings.margin)
    picture, old = image[where], mask[where]
    scale = settings.size / max(old.shape)
    height, width = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in old.shape)
    small = shrink(picture, (width, height))
    coarse = shrink(old.view(np.uint8) * np.uint8(255), (width, height))
    if (coarse > 127).any():
        check_length(coarse > 127, _SHORTEST)
    share = np.asarray(cv2.resize(predictor.predict(small, coarse), (width, height)), np.float32)
    foreground = share > settings.threshold
    share[foreground & ~_keep_attached(foreground, coarse > 127, settings.reach)] = 0
    result = np.zeros_like(mask)
    result[where] = cv2.resize(share, old.shape[::-1]) > settings.threshold
    if not result.any():
        raise RefusedError("the network finds no object there")
    if not settings.grabcut:
        return result
    settings_after = GrabCut(band=_BAND, size=round(_AFTER * settings.size))
    return refine_mask_grabcut(image, result, settings_after).mask


def _keep_attached(foreground: BoolArray, coarse: BoolArray, reach: float) -> BoolArray:
    """Keep the foreground that is near the coarse mask and connected with it.

    The network segments other objects, too.
    """
    longer = max(cv2.boundingRect(coarse.view(np.uint8))[2:])
    distance = cv2.distanceTransform((~coarse).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    near = foreground & (distance <= reach * longer)
    count, parts = cv2.connectedComponents(near.view(np.uint8))
    is_attached = np.zeros(count, np.bool_)
    is_attached[parts[near & coarse]] = True
    return np.asarray(is_attached[parts])
