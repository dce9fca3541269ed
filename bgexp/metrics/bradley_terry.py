"""What votes among several variants say together: the model of Bradley and Terry."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bgexp.metrics.win_rate import Vote, Z, exclude_repeats

Floats = NDArray[np.float64]

PRIOR_SD = 3.0  # of a log-odds: 20 to 1 is one of them; it keeps finite who has lost nothing yet
_MAX_STEPS = 100  # of Newton's method, which needs about six


@dataclass(frozen=True)
class BradleyTerryScore:
    """A run's rank among several, from pairwise votes.

    Attributes:
        run_id: The run.
        n: Its votes with a preference or a tie.
        rate: The chance that it is preferred to another run, the mean over those that have
            votes; NaN without votes.
        low: Lower end of its 95 % interval; high: upper end.
    """

    run_id: str
    n: int
    rate: float
    low: float
    high: float


def compute_bradley_terry(votes: Iterable[Vote], run_ids: Sequence[str]) -> list[BradleyTerryScore]:
    """Score several runs from all votes among them, in the order of the ids.

    The model of Bradley and Terry (Biometrika 1952): a run of log-strength s is preferred to one
    of log-strength t with chance 1 / (1 + exp(t - s)); a tie is half a win for each. Log-strengths
    have a normal prior (mean 0, sd 3), as in Caron and Doucet, "Efficient Bayesian inference for
    generalized Bradley-Terry models", JCGS 2012. The interval is that of the log-odds of the rate
    by the delta method, from the inverse of the Hessian or from the sandwich over images (Liang
    and Zeger, Biometrika 1986), whichever is wider.

    Args:
        votes: Of any runs; those between two of these count.
        run_ids: Two or more.
    """
    places = {run_id: place for place, run_id in enumerate(run_ids)}
    preferences = [
        vote
        for vote in exclude_repeats(votes)
        if vote.choice != "both_bad" and vote.sides <= places.keys()
    ]
    design = np.zeros((len(preferences), len(run_ids)))
    for row, vote in zip(design, preferences, strict=True):
        row[places[vote.left]], row[places[vote.right]] = 1.0, -1.0
    wins = np.array([vote.score_run(vote.left) for vote in preferences])
    theta = _fit(design, wins)
    covariances = _compute_covariances(design, wins, theta, [vote.image for vote in preferences])
    counts = np.abs(design).sum(axis=0).astype(int)
    return [
        BradleyTerryScore(
            run_id, int(counts[place]), *_compute_win_rate(place, counts > 0, theta, covariances)
        )
        for run_id, place in places.items()
    ]


def _fit(design: Floats, wins: Floats) -> Floats:
    """Return the log-strengths of the largest posterior, by Newton's method: it is convex."""
    theta = np.zeros(design.shape[1])
    for _ in range(_MAX_STEPS):
        step = np.linalg.solve(
            _compute_hessian(design, theta), _compute_slopes(design, wins, theta).sum(axis=0)
        )
        # Far from the optimum a whole step may overshoot.
        step *= min(1.0, 2.0 / max(1e-12, np.abs(step).max()))
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            break
    return theta


def _compute_slopes(design: Floats, wins: Floats, theta: Floats) -> Floats:
    """Return d log-posterior / d log-strengths, (n + 1, k): a row a vote, the prior's last."""
    vote_slopes = design * (wins - _logistic(design @ theta))[:, None]
    return np.vstack([vote_slopes, -theta / PRIOR_SD**2])


def _compute_hessian(design: Floats, theta: Floats) -> Floats:
    """Return the Hessian of the negative log-posterior, (k, k)."""
    chances = _logistic(design @ theta)
    weighted = design.T @ (design * (chances * (1 - chances))[:, None])
    return np.asarray(weighted + np.eye(len(theta)) / PRIOR_SD**2, np.float64)


def _compute_covariances(
    design: Floats, wins: Floats, theta: Floats, images: Sequence[str]
) -> tuple[Floats, Floats]:
    """Return covariances of the log-strengths, (k, k) each: by the model, by images as clusters."""
    model = np.asarray(np.linalg.inv(_compute_hessian(design, theta)), np.float64)
    image_slopes: Mapping[str, Floats] = {image: np.zeros(len(theta)) for image in images}
    for image, slope in zip(images, _compute_slopes(design, wins, theta)[:-1], strict=True):
        image_slopes[image][:] += slope
    slopes = np.array([*image_slopes.values()]).reshape(-1, len(theta))
    return model, np.asarray(model @ slopes.T @ slopes @ model, np.float64)


def _compute_win_rate(
    place: int, voted: NDArray[np.bool_], theta: Floats, covariances: tuple[Floats, Floats]
) -> tuple[float, float, float]:
    """Return the mean chance against the others with votes, and its interval."""
    if not voted[place]:
        return math.nan, math.nan, math.nan
    others = voted & (np.arange(len(theta)) != place)
    chances = _logistic(theta[place] - theta[others])
    rate = float(chances.mean())
    slope = np.zeros(len(theta))
    slope[others] = -chances * (1 - chances) / others.sum()
    slope[place] = -slope.sum()
    error = max(float(slope @ covariance @ slope) for covariance in covariances) ** 0.5
    half_width = Z * error / (rate * (1 - rate))
    log_odds = math.log(rate / (1 - rate))
    return rate, float(_logistic(log_odds - half_width)), float(_logistic(log_odds + half_width))


def _logistic(log_odds: Floats | float) -> Floats:
    """1 / (1 + exp(-x)), without overflow; scipy.special costs a tenth of a second to import."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(log_odds))))
