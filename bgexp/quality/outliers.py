"""Outliers: values far from the others, by a named method, over all or by category.

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

# A category with fewer images has no reliable spread; the bounds over all images count then.
LEAST_IN_CATEGORY = 8
# Where most values are equal, the spread would be 0 and any other value an outlier: at least 10 %.
LEAST_SPREAD = math.log(1.1)


@dataclass(frozen=True)
class Bounds:
    """The range of values that are no outliers, from `low` to `high`, in the values' units."""

    low: float
    high: float

    def find_outside(self, values: Floats) -> NDArray[np.bool_]:
        """Return which values are outside, (N,) bool; NaN never is."""
        return np.asarray((values < self.low) | (values > self.high))


def compute_bounds(values: Floats, settings: Outliers, log: bool = True) -> Bounds:
    """Compute the bounds of one group of values.

    iqr: quartiles -/+ limit times their distance (Tukey 1977: 1.5, "far out" 3). mad: median -/+
    limit times 1.4826 times the median absolute deviation (Iglewicz and Hoaglin 1993: 3.5).
    zscore: mean -/+ limit times the standard deviation.

    Args:
        values: (N,) float64, positive; NaN is left out. Without values, nothing is an outlier.
        settings: Method and limit.
        log: Whether to take the bounds of the logarithms.
    """
    present = values[~np.isnan(values)]
    if not len(present):
        return Bounds(-math.inf, math.inf)
    scaled = np.log(present) if log else present
    least_spread = LEAST_SPREAD if log else LEAST_SPREAD * float(np.median(present))
    if settings.method == "iqr":
        low, high = np.percentile(scaled, (25, 75))
        spread = max(high - low, least_spread)
    elif settings.method == "mad":
        low = high = np.median(scaled)
        spread = 1.4826 * max(float(np.median(np.abs(scaled - low))), least_spread / 2)
    else:
        low = high = scaled.mean()
        spread = max(scaled.std(), least_spread / 2)
    ends = low - settings.limit * spread, high + settings.limit * spread
    with np.errstate(over="ignore"):  # infinite then
        return Bounds(*(float(np.exp(end)) if log else float(end) for end in ends))


def find_outliers(
    values: "pd.Series[float]", categories: "pd.Series[str]", settings: Outliers, log: bool = True
) -> "pd.Series[bool]":
    """Return which values are outliers, with the index of `values`."""
    outside = pd.Series(
        compute_bounds(values.to_numpy(float), settings, log).find_outside(values.to_numpy(float)),
        values.index,
    )
    if settings.by == "all":
        return outside
    for _, group in values.groupby(categories, observed=True):
        if group.count() >= LEAST_IN_CATEGORY:
            group_values = group.to_numpy(float)
            outside[group.index] = compute_bounds(group_values, settings, log).find_outside(
                group_values
            )
    return outside


def collect_dimensions(rows: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Return the sizes that are the same for portrait and landscape: sides and their ratio."""
    sides = rows[["width", "height"]].astype(float)
    longer, shorter = sides.max(axis=1), sides.min(axis=1)
    return {"longer side": longer, "shorter side": shorter, "aspect": longer / shorter}


def find_outlier_reasons(rows: pd.DataFrame, settings: Outliers) -> list[Sequence[str]]:
    """Return by which dimensions each row is an outlier, such as "longer side"; mostly none."""
    outliers = {
        name: find_outliers(values, rows["category"], settings)
        for name, values in collect_dimensions(rows).items()
    }
    return [[name for name, outside in outliers.items() if outside[row]] for row in rows.index]
