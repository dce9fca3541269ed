"""Scores before and after refinement as the geometry of a chart. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bgexp.report.charts import Point, Scatter

SIDE = 300  # units of the viewBox
MAX_POINTS = 500


def plot_change(
    before: NDArray[np.float64], after: NDArray[np.float64], names: Sequence[str]
) -> Scatter:
    """Scatter each image's score after over its score before, 0 to 1; better above the diagonal.

    At most 500 dots: evenly chosen by the change, its extremes among them.
    """
    defined = np.flatnonzero(~np.isnan(before) & ~np.isnan(after))
    order = defined[np.argsort((after - before)[defined], kind="stable")]
    if len(order) > MAX_POINTS:
        order = order[np.linspace(0, len(order) - 1, MAX_POINTS).round().astype(int)]
    points = [
        Point(
            before[n] * SIDE,
            SIDE - after[n] * SIDE,
            f"{names[n]}: {before[n]:.3f} to {after[n]:.3f}",
            "better" if after[n] > before[n] else "worse" if after[n] < before[n] else "same",
        )
        for n in order
    ]
    return Scatter(points, n=len(defined))
