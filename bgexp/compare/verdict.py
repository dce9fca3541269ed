"""A variant against a baseline by one metric: the verdict, and what would decide it."""

import math
from dataclasses import dataclass
from typing import Literal

from bgexp.metrics.paired import PairedChange, estimate_images_to_decide
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.metrics.significance import MIN_IMAGES, is_decided
from bgexp.report.wording import format_count
from bgexp.sweep.effects import MIN_EFFECT


@dataclass(frozen=True)
class Verdict:
    """A variant against the baseline, by one metric.

    Attributes:
        change: Of the metric, from the baseline to the variant.
        won: Images on which the variant is better, whichever way better is; lost: worse.
        outcome: For the variant; undecided where the interval contains 0, or there are too few
            images.
        images_to_decide: About how many more images would decide it; None where it is decided, or
            where the difference is practically nil, or nothing is known of it.
    """

    change: PairedChange
    won: int
    lost: int
    outcome: Literal["better", "worse", "undecided"]
    images_to_decide: int | None

    @property
    def description(self) -> str:
        """The verdict, and what would decide it, in words."""
        if self.outcome != "undecided":
            return self.outcome
        if not self.change.n:
            return "no image has a score in both"
        if self.images_to_decide is not None:
            images = format_count(_round(self.images_to_decide), "more image")
            return f"undecided (about {images} would decide)"
        if math.isnan(self.change.low):
            return "undecided (too few images or clusters for an interval)"
        return f"undecided (and the difference is below {MIN_EFFECT:g})"


def judge_change(change: PairedChange, metric: str) -> Verdict:
    """Return the verdict on a change of a metric."""
    lower = metric in LOWER_IS_BETTER
    won, lost = change.n_better, change.n_worse
    won, lost = (lost, won) if lower else (won, lost)
    if is_decided(change):
        better = (change.change > 0) != lower
        return Verdict(change, won, lost, "better" if better else "worse", None)
    images_to_decide = estimate_images_to_decide(change, MIN_EFFECT)
    if images_to_decide is not None:
        images_to_decide = max(images_to_decide, MIN_IMAGES - change.n, 1)
    return Verdict(change, won, lost, "undecided", images_to_decide)


def _round(number: int) -> int:
    """Round to two digits: more would promise too much.

    >>> _round(7), _round(124), _round(12_345)
    (7, 120, 12000)
    """
    return int(float(f"{number:.2g}"))
