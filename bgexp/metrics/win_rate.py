"""What votes say: who is preferred, how surely, and how steady the judge is.

A tie is half a win for each side. Where both were bad nobody was preferred: such a vote counts in
no rate. Neither does a repeated pair, which only tells how steady the judge is. Votes on one image
are not independent: an interval widens by as much as they agree. Undefined is NaN.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bgexp.config.base import Section

Choice = Literal["left", "right", "tie", "both_bad"]

CONFIDENCE = 0.95
POWER = 0.8  # the chance with which so many votes would find a preference that is there
LEAST = 10  # with fewer votes nothing is foretold
MIN_PREFERENCE = 0.02  # a preference of less than 52 % is of use to nobody
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
_LEFT = {"left": 1.0, "tie": 0.5, "right": 0.0}


class Vote(Section):
    """A judgement of two results of one image.

    Attributes:
        image: Its path in the dataset.
        left, right: Ids of the runs whose results stood there.
        choice: The better side; "tie": no difference that matters; "both_bad": neither would do.
        repeat: Whether the judge had seen this pair before, with its sides swapped.
        seconds: How long the judge looked.
        judge: One sitting of one person; nobody is named.
    """

    image: str
    left: str
    right: str
    choice: Choice
    repeat: bool = False
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    judge: str = ""

    @property
    def sides(self) -> frozenset[str]:
        """The ids of the two runs, without their sides."""
        return frozenset((self.left, self.right))

    def score_run(self, run_id: str) -> float:
        """Return 1 if this run was preferred, 0 if the other, 0.5 for a tie, NaN if both bad."""
        share = _LEFT.get(self.choice, math.nan)
        return share if run_id == self.left else 1 - share


@dataclass(frozen=True)
class WinRate:
    """The share of votes that preferred one run to another.

    Attributes:
        n: Votes with a preference or a tie; n_both_bad: the others.
        n_images: Images of these n votes.
        wins, ties, losses: Of the n.
        rate: Wins and half of the ties, as a share of n; NaN without votes.
        low: Lower end of its 95 % interval; high: upper end; NaN without votes.
        n_effective: Independent votes with as much information (n over the design effect).
    """

    n: int
    n_both_bad: int
    n_images: int
    wins: int
    ties: int
    losses: int
    rate: float
    low: float
    high: float
    n_effective: float

    @property
    def decided(self) -> bool:
        """Whether the interval does not contain one half."""
        return self.low > 0.5 or self.high < 0.5

    @property
    def more_votes(self) -> int | None:
        """The estimated number of votes that would decide it, if the rate is what it seems.

        0 where it is decided; None with fewer than ten votes, or where the preference is
        practically nil.
        That many find it in 80 of 100 cases: n = ((z(0.975) / 2 + z(0.8) sqrt(p (1 - p))) /
        (p - 1/2))^2, the normal theory of the test that Wilson's interval inverts. Votes without
        a preference are expected as often as before.
        """
        if self.decided:
            return 0
        if self.n < LEAST or abs(self.rate - 0.5) < MIN_PREFERENCE:
            return None
        deviation = math.sqrt(self.rate * (1 - self.rate))
        needed = ((Z / 2 + NormalDist().inv_cdf(POWER) * deviation) / (self.rate - 0.5)) ** 2
        preferences = (needed / self.n_effective - 1) * self.n
        return max(1, math.ceil(preferences * (self.n + self.n_both_bad) / self.n))


def compute_win_rate(votes: Iterable[Vote], run_id: str, over: str) -> WinRate:
    """Compute how often a run was preferred to another, with Wilson's score interval.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927; with
    several votes on an image, of the effective number of votes, as Korn and Graubard do for
    surveys (Survey Methodology 1998): n over the design effect, which is at least 1.

    Args:
        votes: Of any runs; those between these two count.
        run_id: The run whose rate is computed.
        over: The other run.
    """
    between = [vote for vote in exclude_repeats(votes) if vote.sides == {run_id, over}]
    preferences = [vote for vote in between if vote.choice != "both_bad"]
    shares = np.array([vote.score_run(run_id) for vote in preferences])
    images = [vote.image for vote in preferences]
    n_effective = _count_effective_votes(shares, images)
    rate = float(shares.mean()) if len(preferences) else math.nan
    low, high = _compute_wilson_interval(rate, n_effective)
    return WinRate(
        n=len(preferences),
        n_both_bad=len(between) - len(preferences),
        n_images=len(set(images)),
        wins=int((shares == 1).sum()),
        ties=int((shares == 0.5).sum()),
        losses=int((shares == 0).sum()),
        rate=rate,
        low=low,
        high=high,
        n_effective=n_effective,
    )


def exclude_repeats(votes: Iterable[Vote]) -> list[Vote]:
    """Return the votes without those on repeated pairs."""
    return [vote for vote in votes if not vote.repeat]


def _count_effective_votes(shares: NDArray[np.float64], images: Sequence[str]) -> float:
    n, clusters = len(shares), len(set(images))
    if clusters in (0, n):
        return float(n)
    rate = shares.mean()
    if clusters == 1 or rate in (0, 1):  # how alike they are cannot be seen: as one vote an image
        return float(clusters)
    sums = dict.fromkeys(images, 0.0)
    for image, share in zip(images, shares, strict=True):
        sums[image] += share - rate
    variance = sum(value**2 for value in sums.values()) * clusters / (clusters - 1)
    return float(n / max(1.0, variance / (n * rate * (1 - rate))))


def _compute_wilson_interval(rate: float, n: float) -> tuple[float, float]:
    if n == 0:
        return math.nan, math.nan
    middle = rate + Z**2 / (2 * n)
    half_width = Z * math.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    low, high = (middle - half_width) / (1 + Z**2 / n), (middle + half_width) / (1 + Z**2 / n)
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True)
class SelfAgreement:
    """The share of repeated pairs that were judged as before.

    Attributes:
        n: Repeated pairs of which both looks were judged.
        n_alike: Judged alike.
        share: n_alike of n, with its 95 % interval from low to high; NaN where n is 0.
    """

    n: int
    n_alike: int
    share: float
    low: float
    high: float


def compute_self_agreement(votes: Iterable[Vote]) -> SelfAgreement:
    """Compute the share of repeated pairs that were judged alike, with Wilson's interval.

    Alike is the same run preferred, or the same "tie" or "both bad". By chance alone it is about
    half where nearly all votes prefer a side.
    """
    all_votes = list(votes)
    firsts = {(vote.judge, vote.image, vote.sides): vote for vote in exclude_repeats(all_votes)}
    pairs = [
        (firsts[key], vote)
        for vote in all_votes
        if vote.repeat and (key := (vote.judge, vote.image, vote.sides)) in firsts
    ]
    n_alike = sum(_find_preferred(first) == _find_preferred(repeat) for first, repeat in pairs)
    share = n_alike / len(pairs) if pairs else math.nan
    return SelfAgreement(len(pairs), n_alike, share, *_compute_wilson_interval(share, len(pairs)))


def _find_preferred(vote: Vote) -> str:
    """Return the id of the preferred run, "tie" or "both_bad"."""
    return {"left": vote.left, "right": vote.right}.get(vote.choice, vote.choice)
