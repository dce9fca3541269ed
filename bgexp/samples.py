"""Sample pictures: original, mask, cut-out and the difference to the truth, side by side."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.cutout import cut_out
from bgexp.results import Row

ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

PANEL = 360  # pixels, the longer side of each panel
LOST, LEAKED = (220, 40, 40), (40, 110, 230)  # true foreground that is missing; background kept


def choose_samples(rows: Sequence[Row], count: int) -> list[Row]:
    """Half of them the worst by IoU, the rest evenly spread over the others.

    Without truth the worst are those that found least. Failed rows have no picture to show.
    """
    shown = [row for row in rows if row.status == "ok"]
    worst = sorted(shown, key=_goodness)[: math.ceil(count / 2)]
    others = [row for row in shown if row not in worst]
    spread = np.linspace(0, len(others) - 1, min(count - len(worst), len(others))).round()
    return worst + [others[int(n)] for n in spread]


def _goodness(row: Row) -> float:
    if not row.metrics:
        return row.checks["coverage"]
    # Undefined where truth and mask are both empty: nothing could be better.
    return 1.0 if math.isnan(row.metrics["iou"]) else row.metrics["iou"]


def draw_sample(image: ByteArray, mask: BoolArray, truth: BoolArray | None) -> ByteArray:
    """The panels in one row, HxWx3 uint8 RGB; without truth there is no fourth one.

    The difference shows lost foreground in red and leaked background in blue over the dimmed image.
    """
    panels = [image, _grey(mask), cut_out(image, mask)]
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


def _grey(mask: BoolArray) -> ByteArray:
    return np.repeat(mask[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2)
