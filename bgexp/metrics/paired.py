"""Comparisons on the same images: paired differences with an interval, agreement of rankings.

Undefined is NaN; a pair with a NaN on either side is left out and not counted in n.
scipy.stats is imported where it is used: it takes seconds, and only runs use it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8  # the chance with which so many images would find a difference that is there
RESAMPLES = 2000
MIN_PAIRS = 3  # with fewer pairs an interval or a ranking says nothing
_BATCH = 100  # resamples at a time, which bounds the memory
_MIN_CLUSTERS = 6  # five clusters of one sign are not significant at 5 % (as five images)


@dataclass(frozen=True)
class PairedChange:
    """The mean change of a value on the same images, with its interval.

    Attributes:
        n: The number of pairs with both values.
        before: Mean before; after: mean after; change: mean of the differences.
        low: Lower end of the change's 95 % interval; NaN with fewer than three pairs, or six
            clusters.
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


def compute_paired_change(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[str] | None = None
) -> PairedChange:
    """Compute the mean change and its bootstrap percentile interval (Efron 1979; 2,000, seeded).

    Args:
        before: A value an image.
        after: Of the same images, in their order.
        clusters: What each image belongs to, where images of one kind are alike: clusters are
            then resampled whole (Field and Welsh, "Bootstrapping clustered data", JRSS B 2007).
            The change stays the mean over images. None: each image counts by itself.

    Raises:
        ValueError: The arguments differ in length.
    """
    pairs, is_defined = _pair_defined(before, after)
    if clusters is not None and len(clusters) != len(before):
        raise ValueError(f"expected a cluster an image, got {len(clusters)} for {len(before)}")
    if not len(pairs):
        return PairedChange(0, math.nan, math.nan, math.nan, math.nan, math.nan, 0, 0)
    changes = pairs[:, 1] - pairs[:, 0]
    if clusters is None:
        low, high = _bootstrap(changes)
    else:
        low, high = _bootstrap_clusters(changes, np.array(clusters)[is_defined])
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


def estimate_images_to_decide(change: PairedChange, least_change: float) -> int | None:
    """Estimate how many more images would give the change a sure sign, if it is what it seems.

    By normal theory, n = ((z(0.975) + z(0.8)) sd / change)^2 images find the change in 80 of 100
    cases. The standard error, sd / sqrt(n), is read from the interval, so that clusters count.

    Args:
        change: Of the images that there are.
        least_change: The smallest change that is of use to anybody.

    Returns:
        0 where there are enough; None where the change is smaller than `least_change`, or unknown.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    standard_error = (change.high - change.low) / (2 * z)
    if math.isnan(standard_error) or abs(change.change) < least_change:
        return None
    root_factor = (z + NormalDist().inv_cdf(POWER)) * standard_error / change.change
    return max(0, math.ceil(change.n * root_factor**2) - change.n)


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of n pairs, -1 to 1; NaN where one side does not vary."""

    spearman: float
    n: int


def compute_rank_agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Compute Spearman's rank correlation of two values of the same things (Spearman 1904).

    Raises:
        ValueError: The arguments differ in length.
    """
    from scipy.stats import spearmanr

    pairs, _ = _pair_defined(first, second)
    if len(pairs) < MIN_PAIRS or (np.ptp(pairs, axis=0) == 0).any():
        return Agreement(math.nan, len(pairs))
    return Agreement(float(spearmanr(*pairs.T).statistic), len(pairs))


def _pair_defined(
    first: Sequence[float], second: Sequence[float]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the pairs with both sides defined, (n, 2) float64, and which of all pairs they are."""
    if len(first) != len(second):
        raise ValueError(f"expected values of the same images, got {len(first)} and {len(second)}")
    pairs = np.array([first, second], np.float64).reshape(2, -1).T
    is_defined: NDArray[np.bool_] = np.logical_not(np.isnan(pairs).any(axis=1))
    return pairs[is_defined], is_defined


def _bootstrap(changes: Floats) -> tuple[float, float]:
    if len(changes) < MIN_PAIRS:
        return math.nan, math.nan
    return _bootstrap_units(changes, (changes,), np.mean)


def _bootstrap_clusters(changes: Floats, clusters: NDArray[np.str_]) -> tuple[float, float]:
    _, place = np.unique(clusters, return_inverse=True)
    counts = np.bincount(place)
    if len(counts) < _MIN_CLUSTERS:
        return math.nan, math.nan
    return _bootstrap_units(changes, (np.bincount(place, changes), counts), _average_clusters)


def _average_clusters(totals: Floats, counts: NDArray[np.int64], axis: int) -> Floats:
    """Return the mean over all images of the clusters: a large cluster has more of them."""
    mean: Floats = totals.sum(axis=axis) / counts.sum(axis=axis)
    return mean


def _bootstrap_units(
    changes: Floats,
    units: tuple[NDArray[Any], ...],
    statistic: Callable[..., Any],
) -> tuple[float, float]:
    if np.ptp(changes) == 0:  # every resample has the same mean
        return float(changes[0]), float(changes[0])
    return bootstrap_interval(units, statistic, RESAMPLES, CONFIDENCE)


def bootstrap_interval(
    samples: tuple[NDArray[Any], ...],
    statistic: Callable[..., Any],
    resamples: int,
    confidence: float,
) -> tuple[float, float]:
    """Compute the seeded bootstrap percentile interval of a statistic (Efron 1979).

    As scipy.stats.bootstrap does, whose import takes as long as all else of a comparison.

    Args:
        samples: Values of the same things, each array (n,), which are resampled together.
        statistic: Takes the samples and `axis`.
        resamples: How often they are drawn anew.
        confidence: Of the interval, 0 to 1.
    """
    rng, n, means = np.random.default_rng(0), len(samples[0]), []
    for start in range(0, resamples, _BATCH):
        places = rng.integers(0, n, (min(_BATCH, resamples - start), n))
        means.append(statistic(*(sample[places] for sample in samples), axis=-1))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(means), (tail, 100 - tail))
    return float(low), float(high)
