"""A sample picture: original, mask, cut-out and the difference to the truth, side by side."""

import cv2
import numpy as np

from bgexp.experiment.difference import draw_difference
from bgexp.pipeline.cutout import cut_out
from bgexp.report.pictures import BoolArray, ByteArray

PANEL = 360  # pixels, the longer side of each panel


def draw_sample(
    image: ByteArray, mask: BoolArray, truth: BoolArray | None, void: BoolArray | None = None
) -> ByteArray:
    """Draw the panels in one row, HxWx3 uint8 RGB; without truth there is no fourth one."""
    panels = [image, _convert_mask_to_rgb(mask), cut_out(image, mask)]
    if truth is not None:
        panels.append(draw_difference(image, mask, truth, void))
    scale = min(1.0, PANEL / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA)) for p in panels]
    gap = np.full((size[1], 6, 3), 255, np.uint8)
    parts = [part for panel in small for part in (panel, gap)]
    return np.hstack(parts[:-1])


def _convert_mask_to_rgb(mask: BoolArray) -> ByteArray:
    return np.repeat(mask[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2)
