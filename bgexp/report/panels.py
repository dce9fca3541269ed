"""Sample pictures: original, mask, cut-out and the difference to the truth, side by side."""

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.pipeline.cutout import cut_out

ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

PANEL = 360  # pixels, the longer side of each panel
LOST, LEAKED = (220, 40, 40), (40, 110, 230)  # true foreground that is missing; background kept


def draw_sample(image: ByteArray, mask: BoolArray, truth: BoolArray | None) -> ByteArray:
    """Draw the panels in one row, HxWx3 uint8 RGB; without truth there is no fourth one.

    The difference shows lost foreground in red and leaked background in blue over the dimmed image.
    """
    panels = [image, _mask_to_rgb(mask), cut_out(image, mask)]
    if truth is not None:
        difference = image // 3
        difference[truth & ~mask] = LOST
        difference[mask & ~truth] = LEAKED
        panels.append(difference)
    scale = min(1.0, PANEL / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA)) for p in panels]
    gap = np.full((size[1], 6, 3), 255, np.uint8)
    parts = [part for panel in small for part in (panel, gap)]
    return np.hstack(parts[:-1])


def _mask_to_rgb(mask: BoolArray) -> ByteArray:
    return np.repeat(mask[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2)
