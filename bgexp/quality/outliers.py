"""Which values lie far from the others: bounds by a named method, of all or by category.

Sizes are on a ratio scale, where twice as large and half as large are equally far, so bounds are
taken of the logarithms: files and pictures are skewed, and a plain scale finds only large ones.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bgexp.config.analyze import Outliers

Floats = NDArray[np.float64]

# A category with fewer images has no spread to speak of; those of all count.
LEAST_IN_CATEGORY = 8
# Where most values are equal, one that differs by less is no outlier: a factor of 1.1 of spread.
LEAST_SPREAD = math.log(1.1)


@dataclass(frozen=True)
class Bounds:
    """What lies below `low` or above `high` is an outlier; in the values' own units."""

    low: float
    high: float

    def outside(self, values: Floats) -> NDArray[np.bool_]:
        """(N,) bool; NaN is never outside."""
        return np.asarray((values < self.low) | (values > self.high))


def bounds(values: Floats, settings: Outliers, log: bool = True) -> Bounds:
    """The bounds of one group of values.

    iqr: quartiles -/+ limit times their distance (Tukey 1977: 1.5, "far out" 3). mad: median -/+
    limit times 1.4826 times the median absolute deviation (Iglewicz and Hoaglin 1993: 3.5).
    zscore: mean -/+ limit times the standard deviation.

    Args:
        values: (N,) positive; NaN is left out. With none, nothing is an outlier.
        settings: Method and limit.
        log: Whether on the logarithms.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return Bounds(-math.inf, math.inf)
    scaled = np.log(known) if log else known
    least = LEAST_SPREAD if log else LEAST_SPREAD * float(np.median(known))
    if settings.method == "iqr":
        low, high = np.percentile(scaled, (25, 75))
        spread = max(high - low, least)
    elif settings.method == "mad":
        low = high = np.median(scaled)
        spread = 1.4826 * max(float(np.median(np.abs(scaled - low))), least / 2)
    else:
        low = high = scaled.mean()
        spread = max(scaled.std(), least / 2)
    ends = low - settings.limit * spread, high + settings.limit * spread
    with np.errstate(over="ignore"):  # infinite then
        return Bounds(*(float(np.exp(end)) if log else float(end) for end in ends))


def find_outliers(
    values: "pd.Series[float]", categories: "pd.Series[str]", settings: Outliers, log: bool = True
) -> "pd.Series[bool]":
    """Which values are outliers, in the rows of `values`."""
    outside = pd.Series(
        bounds(values.to_numpy(float), settings, log).outside(values.to_numpy(float)), values.index
    )
    if settings.by == "all":
        return outside
    for _, group in values.groupby(categories, observed=True):
        if group.count() >= LEAST_IN_CATEGORY:
            found = group.to_numpy(float)
            outside[group.index] = bounds(found, settings, log).outside(found)
    return outside


def dimensions(rows: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """What is looked at of a picture's dimensions, upright or not: its sides and their ratio."""
    sides = rows[["width", "height"]].astype(float)
    longer, shorter = sides.max(axis=1), sides.min(axis=1)
    return {"longer side": longer, "shorter side": shorter, "aspect": longer / shorter}


def outlier_reasons(rows: pd.DataFrame, settings: Outliers) -> list[Sequence[str]]:
    """For each row what makes it an outlier of dimensions, such as "longer side"; none mostly."""
    found = {
        name: find_outliers(values, rows["category"], settings)
        for name, values in dimensions(rows).items()
    }
    return [[name for name, outside in found.items() if outside[row]] for row in rows.index]
