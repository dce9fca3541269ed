"""One metric over many images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Aggregate:
    """One metric over many images: the floats are of the scored ones and NaN if there is none."""

    mean: float
    median: float
    p05: float  # percentiles interpolate linearly between neighbours
    p95: float
    n_scored: int
    n_undefined: int


def aggregate(values: Sequence[float]) -> Aggregate:
    """Summarise one value per image; NaN (undefined) is left out and counted."""
    scored = [value for value in values if not math.isnan(value)]
    n_undefined = len(values) - len(scored)
    if not scored:
        return Aggregate(math.nan, math.nan, math.nan, math.nan, 0, n_undefined)
    p05, median, p95 = (float(p) for p in np.percentile(scored, (5, 50, 95)))
    return Aggregate(float(np.mean(scored)), median, p05, p95, len(scored), n_undefined)
