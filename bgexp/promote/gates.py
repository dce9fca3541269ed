"""Numbers to a decision: which run wins on one part of the images, and is no worse on the rest."""

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bgexp.datasets.sampling import sample_items
from bgexp.errors import UserError
from bgexp.metrics.paired import MIN_PAIRS, bootstrap_interval
from bgexp.metrics.performance import LOWER_IS_BETTER, METRICS

Values = Sequence[float]

MARGIN = 0.005  # a new champion may be so much worse at most, at the interval's lower end
ERROR = 0.05  # the chance of an interval that misses the truth, for all variants together
WIN_RATE = "win_rate"
_RESAMPLES = 10_000
_STATISTICS: Mapping[str, Callable[..., Any]] = {
    "mean": np.mean,
    "median": np.median,
    "p05": lambda values, axis: np.percentile(values, 5, axis=axis),
    "p95": lambda values, axis: np.percentile(values, 95, axis=axis),
}
_COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_CONSTRAINT = re.compile(r"\s*([\w.]+)\s*(>=|<=|>|<)\s*(-?[\d.]+(?:[eE]-?\d+)?)\s*")


@dataclass(frozen=True)
class Metric:
    """The metric to compare by, one of `METRICS`, and its statistic over images."""

    key: str
    statistic: str

    def __str__(self) -> str:
        return f"{self.key}.{self.statistic}"

    def aggregate(self, values: NDArray[np.float64]) -> float:
        """Aggregate the values over images; NaN of none."""
        return float(_STATISTICS[self.statistic](values, axis=-1)) if len(values) else math.nan

    def find_best(self, scores: Mapping[str, float]) -> str:
        """Return the name with the best score; the first of equal ones."""
        sign = -1 if self.key in LOWER_IS_BETTER else 1
        return max(scores, key=lambda name: sign * scores[name])


@dataclass(frozen=True)
class Constraint:
    """A number of a run that has to be on one side of a limit."""

    key: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.key}{self.sign}{self.limit:g}"

    def is_met(self, number: float) -> bool:
        """Return whether the number is on that side; never for NaN."""
        return bool(_COMPARISONS[self.sign](number, self.limit))


@dataclass(frozen=True)
class Gain:
    """The improvement on the same images; negative where the new run is worse.

    Attributes:
        n: Images.
        before, after: The metric of the old one and of the new one.
        gain: The improvement; positive is better, whichever way the metric points.
        low, high: Of its interval; NaN with fewer than three images.
        confidence: Of the interval.
    """

    n: int
    before: float
    after: float
    gain: float
    low: float
    high: float
    confidence: float

    @property
    def enough(self) -> bool:
        """Return whether the new one may replace the old one: surely not worse by over MARGIN."""
        return self.low > -MARGIN


def read_metric(text: str) -> Metric:
    """Read a metric as it is written, such as `iou.mean`; only of those that need truth.

    Raises:
        UserError: there is none of this name.
    """
    key, _, statistic = text.partition(".")
    if key in METRICS and statistic in _STATISTICS:
        return Metric(key, statistic)
    hint = "; checks never choose" if key in ("check", "checks") else ""
    raise UserError(
        f"metric: no such metric (got {text}; allowed: {WIN_RATE}, or one of {', '.join(METRICS)} "
        f"with .{', .'.join(_STATISTICS)}{hint})"
    )


def read_constraints(text: str | None) -> list[Constraint]:
    """Read conditions as they are written: `images_per_s>=2, foreground_recall.p05>=0.9`.

    Raises:
        UserError: one cannot be read.
    """
    constraints = []
    for part in (text or "").split(","):
        if part.strip():
            match = _CONSTRAINT.fullmatch(part)
            if match is None:
                raise UserError(f"require: {part.strip()}: expected KEY>=NUMBER, or <=, > or <")
            constraints.append(Constraint(match[1], match[2], float(match[3])))
    return constraints


def hold_out(paths: Collection[str], share: float, seed: int) -> set[str]:
    """Hold out images for confirmation only: a share of each category, by a seed."""
    return set(sample_items(paths, round(share * len(paths)), seed))


def compute_confidence(variants: int) -> float:
    """Return the confidence of the interval that has to clear the margin, corrected by Bonferroni.

    The best of many variants is also the luckiest. The images held out correct for that, and this
    for repeated promotions against the same images.
    """
    return 1 - ERROR / max(1, variants)


def compute_gain(before: Values, after: Values, metric: Metric, level: float) -> Gain:
    """Compute the new one's gain with its paired bootstrap percentile interval (Efron 1979).

    Args:
        before: Scores of the old one, one for each image.
        after: Scores of the new one on the same images; pairs with a NaN are left out.
        metric: The metric of the scores.
        level: The confidence of the interval.
    """
    pairs = pd.DataFrame({"before": before, "after": after}, dtype=float).dropna().to_numpy().T
    sign = -1.0 if metric.key in LOWER_IS_BETTER else 1.0
    old, new = metric.aggregate(pairs[0]), metric.aggregate(pairs[1])
    low, high = _bootstrap_gain(pairs, metric, sign, level)
    return Gain(pairs.shape[1], old, new, sign * (new - old), low, high, level)


def _bootstrap_gain(
    pairs: NDArray[np.float64], metric: Metric, sign: float, level: float
) -> tuple[float, float]:
    if pairs.shape[1] < MIN_PAIRS:
        return math.nan, math.nan
    statistic = _STATISTICS[metric.statistic]

    def subtract_scores(before: NDArray[np.float64], after: NDArray[np.float64], axis: int) -> Any:  # noqa: ANN401
        return sign * (statistic(after, axis=axis) - statistic(before, axis=axis))

    if np.ptp(pairs[1] - pairs[0]) == 0 and metric.statistic == "mean":
        difference = float(subtract_scores(pairs[0], pairs[1], 0))  # every resample has the same
        return difference, difference
    return bootstrap_interval((pairs[0], pairs[1]), subtract_scores, _RESAMPLES, level)
