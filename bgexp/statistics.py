"""Comparisons on the same images: paired differences with an interval, agreement of rankings.

Undefined is NaN; a pair with a NaN on either side is left out and not counted in n.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, spearmanr

CONFIDENCE = 0.95
RESAMPLES = 2000
_LEAST = 3  # with fewer pairs an interval or a ranking says nothing


@dataclass(frozen=True)
class PairedChange:
    """How values changed on the same images.

    Attributes:
        n: Pairs with both values.
        before: Mean before; after: mean after; change: mean of the differences.
        low: Lower end of the change's 95 % interval; NaN with fewer than three pairs.
        high: Its upper end.
        n_better: Pairs whose value rose; n_worse: fell.
    """

    n: int
    before: float
    after: float
    change: float
    low: float
    high: float
    n_better: int
    n_worse: int


def paired_change(before: Sequence[float], after: Sequence[float]) -> PairedChange:
    """The mean change with its bootstrap percentile interval (Efron 1979; 2,000 resamples, seeded).

    Raises:
        ValueError: The two are not of one length.
    """
    pairs = _pairs(before, after)
    if not len(pairs):
        return PairedChange(0, math.nan, math.nan, math.nan, math.nan, math.nan, 0, 0)
    changes = pairs[:, 1] - pairs[:, 0]
    low, high = _interval(changes)
    return PairedChange(
        n=len(pairs),
        before=float(pairs[:, 0].mean()),
        after=float(pairs[:, 1].mean()),
        change=float(changes.mean()),
        low=low,
        high=high,
        n_better=int((changes > 0).sum()),
        n_worse=int((changes < 0).sum()),
    )


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of n pairs, -1 to 1; NaN where one side does not vary."""

    spearman: float
    n: int


def rank_agreement(one: Sequence[float], other: Sequence[float]) -> Agreement:
    """How alike two values rank the same things (Spearman 1904).

    Raises:
        ValueError: The two are not of one length.
    """
    pairs = _pairs(one, other)
    if len(pairs) < _LEAST or (np.ptp(pairs, axis=0) == 0).any():
        return Agreement(math.nan, len(pairs))
    return Agreement(float(spearmanr(*pairs.T).statistic), len(pairs))


def _pairs(one: Sequence[float], other: Sequence[float]) -> NDArray[np.float64]:
    """(n, 2) float64: the pairs of which both sides are defined."""
    if len(one) != len(other):
        raise ValueError(f"expected values of the same images, got {len(one)} and {len(other)}")
    pairs = np.array([one, other], np.float64).reshape(2, -1).T
    return pairs[~np.isnan(pairs).any(axis=1)]


def _interval(changes: NDArray[np.float64]) -> tuple[float, float]:
    if len(changes) < _LEAST:
        return math.nan, math.nan
    if np.ptp(changes) == 0:  # every resample has the same mean
        return float(changes[0]), float(changes[0])
    found = bootstrap(
        (changes,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
