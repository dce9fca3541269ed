"""Which images the page of a run shows, and their small pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bgexp.config.stages import Cutout
from bgexp.experiment.difference import draw_difference
from bgexp.images.decode import make_thumbnail
from bgexp.report.finding import Finding, get_column
from bgexp.report.pictures import (
    PANEL,
    BoolArray,
    ByteArray,
    Panel,
    draw_cutout,
    make_panel,
)

_CUTOUT = Cutout()
WORST, BEST, BETWEEN, NAMED = "Worst", "Best", "In between", "Named in the findings"


@dataclass(frozen=True)
class Choice:
    """An image to show (its path in the rows) and its heading."""

    path: str
    group: str


@dataclass(frozen=True, eq=False)
class Picture:
    """Small pictures of one image.

    Attributes:
        choice: The image and its heading.
        original, cutout: HxWx3 uint8 RGB.
        mask: HxW uint8, 255 where foreground is.
        difference: HxWx3 uint8 RGB, as `draw_difference`; None without truth.
    """

    choice: Choice
    original: ByteArray
    mask: ByteArray
    cutout: ByteArray
    difference: ByteArray | None = None


def choose_gallery(
    rows: pd.DataFrame, count: int, findings: Sequence[Finding] = ()
) -> list[Choice]:
    """Choose a page's images: half of `count` the worst, a quarter the best, the rest in between.

    On top come, a third as many at most, the first three images of each finding. Without truth the
    worst are those in which nothing was found, then those of the least confidence. Failed images
    have no picture to show.
    """
    if rows.empty:
        return []
    succeeded = rows[rows["status"] == "ok"]
    order = list(succeeded["path"][_compute_goodness(succeeded).sort_values(kind="stable").index])
    worst = order[: math.ceil(count / 2)]
    remaining = order[len(worst) :]
    n_best = min(len(remaining), math.ceil((count - len(worst)) / 2))
    best = remaining[len(remaining) - n_best :][::-1]
    between = remaining[: len(remaining) - n_best]
    n_between = min(len(between), count - len(worst) - n_best)
    steps = [(2 * n + 1) * len(between) // (2 * n_between) for n in range(n_between)]
    groups = {WORST: worst, BEST: best, BETWEEN: [between[n] for n in steps]}
    free = set(order).difference(*groups.values())
    paths_named = dict.fromkeys(path for finding in findings for path in finding.paths[:3])
    groups[NAMED] = [path for path in paths_named if path in free][: math.ceil(count / 3)]
    return [Choice(path, group) for group, paths in groups.items() for path in paths]


def _compute_goodness(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return IoU where any image has it; 1 where truth and mask are both empty, the best case."""
    if rows["iou"].notna().any():
        return rows["iou"].fillna(1.0)
    return get_column(rows, "check.confidence").fillna(0.0) - get_column(
        rows, "check.nothing_found"
    )


def draw_picture(
    choice: Choice,
    image: ByteArray,
    mask: BoolArray,
    truth: BoolArray | None = None,
    cutout: Cutout = _CUTOUT,
    void: BoolArray | None = None,
) -> Picture:
    """Draw the small pictures of an image.

    Args:
        choice: The image and its heading.
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        truth: As the mask; None without truth.
        cutout: The cut-out's background and edge; a checkerboard stands for "transparent".
        void: HxW bool, True = neither right nor wrong; None: none.
    """
    difference = None
    if truth is not None:
        difference = make_thumbnail(draw_difference(image, mask, truth, void), PANEL)
    return Picture(
        choice,
        make_thumbnail(image, PANEL),
        make_thumbnail(mask.astype(np.uint8) * np.uint8(255), PANEL),
        draw_cutout(image, mask, cutout),
        difference,
    )


def make_panels(picture: Picture) -> list[Panel]:
    """Return an image's panels on a page, side by side."""
    shown_panels = [
        make_panel("original", picture.original, kind="original"),
        make_panel("cut-out", picture.cutout, kind="cutout"),
        make_panel("mask", picture.mask, kind="mask"),
    ]
    if picture.difference is not None:
        shown_panels.append(make_panel("difference", picture.difference, kind="difference"))
    return shown_panels
