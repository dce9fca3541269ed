"""Strengths among several variants: against an independent fit, and as often right as they say."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.metrics.bradley_terry import compute_bradley_terry
from bgexp.metrics.win_rate import Vote, compute_win_rate

IDS = ["a", "b", "c", "d"]
TRUE = {"a": 0.0, "b": 0.5, "c": 1.0, "d": -0.8}  # log-strengths


def chance(first, other):
    return 1 / (1 + math.exp(TRUE[other] - TRUE[first]))


def draw_votes(rng, n):
    votes = []
    for image in range(n):
        left, right = rng.choice(IDS, 2, replace=False)
        choice = "left" if rng.random() < chance(left, right) else "right"
        votes.append(Vote(image=f"{image}", left=left, right=right, choice=choice))
    return votes


def maximum_likelihood(votes):
    """Rates by the algorithm of Zermelo (1929) as in Hunter (Annals of Statistics 2004)."""
    worth = dict.fromkeys(IDS, 1.0)
    won = {
        run_id: sum(vote.score_run(run_id) for vote in votes if run_id in vote.sides)
        for run_id in IDS
    }
    met = Counter(vote.sides for vote in votes)
    for _ in range(300):
        new = {
            run_id: won[run_id]
            / sum(
                met[frozenset((run_id, o))] / (worth[run_id] + worth[o]) for o in IDS if o != run_id
            )
            for run_id in IDS
        }
        worth = {run_id: value / sum(new.values()) for run_id, value in new.items()}
    return {
        run_id: np.mean([worth[run_id] / (worth[run_id] + worth[o]) for o in IDS if o != run_id])
        for run_id in IDS
    }


def test_rates_are_those_of_an_independent_fit():
    votes = draw_votes(np.random.default_rng(1), 3000)
    votes = [v.model_copy(update={"choice": "tie"}) if v.image[-1] == "7" else v for v in votes]
    expected = maximum_likelihood(votes)
    for score in compute_bradley_terry(votes, IDS):
        assert score.rate == pytest.approx(expected[score.run_id], abs=1e-3)


def test_of_two_it_is_nearly_the_win_rate():
    votes = [
        Vote(image=f"{n}", left="a", right="b", choice="left" if n < 65 else "right")
        for n in range(100)
    ]
    first, other = compute_bradley_terry(votes, ["a", "b"])
    expected = compute_win_rate(votes, "a", "b")
    assert (first.rate, first.low, first.high) == pytest.approx(
        (expected.rate, expected.low, expected.high), abs=0.003
    )
    assert other.rate == pytest.approx(1 - first.rate)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    truth = {o: np.mean([chance(o, other) for other in IDS if other != o]) for o in IDS}
    held = [
        score.low <= truth[score.run_id] <= score.high
        for _ in range(100)
        for score in compute_bradley_terry(draw_votes(rng, 80), IDS)
    ]
    assert 0.92 < np.mean(held) < 0.99


def test_judges_who_agree_narrow_nothing():
    votes = draw_votes(np.random.default_rng(3), 60)
    thrice = [vote.model_copy(update={"judge": judge}) for judge in "xyz" for vote in votes]
    for once, again in zip(
        compute_bradley_terry(votes, IDS), compute_bradley_terry(thrice, IDS), strict=True
    ):
        assert again.n == 3 * once.n
        assert again.high - again.low > 0.85 * (once.high - once.low)


def test_who_never_lost_and_who_was_never_shown():
    votes = [Vote(image=f"{n}", left="a", right="b", choice="left") for n in range(10)]
    a, b, c = compute_bradley_terry(votes, ["a", "b", "c"])
    assert a.rate > 0.8
    assert a.high < 1
    assert a.low > 0.3
    assert b.rate < 0.5
    assert (c.run_id, c.n) == ("c", 0)
    assert math.isnan(c.rate)


def test_both_bad_repeats_and_other_runs_do_not_count():
    votes = draw_votes(np.random.default_rng(4), 40)
    extra = [
        Vote(image="x", left="a", right="b", choice="both_bad"),
        Vote(image="x", left="a", right="b", choice="left", repeat=True),
        Vote(image="x", left="a", right="e", choice="left"),
    ]
    assert compute_bradley_terry([*votes, *extra], IDS) == compute_bradley_terry(votes, IDS)
    assert all(math.isnan(score.rate) for score in compute_bradley_terry(extra, IDS))


@given(
    st.lists(
        st.builds(
            lambda image, sides, choice: Vote(
                image=image, left=sides[0], right=sides[1], choice=choice
            ),
            st.sampled_from("1234567"),
            st.sampled_from(list(permutations("abc", 2))),
            st.sampled_from(["left", "right", "tie", "both_bad"]),
        ),
        max_size=25,
    ),
    st.randoms(),
)
def test_neither_order_nor_sides_count(votes, random):
    swap = {"left": "right", "right": "left"}
    other = [
        Vote(
            image=vote.image,
            left=vote.right,
            right=vote.left,
            choice=swap.get(vote.choice, vote.choice),
        )
        for vote in votes
    ]
    random.shuffle(other)
    expected = {score.run_id: score for score in compute_bradley_terry(votes, ["a", "b", "c"])}
    for score in compute_bradley_terry(other, ["c", "a", "b"]):
        expected_score = expected[score.run_id]
        assert score.n == expected_score.n
        if expected_score.n:
            assert (score.rate, score.low, score.high) == pytest.approx(
                (expected_score.rate, expected_score.low, expected_score.high), abs=1e-6
            )
            assert 0 < score.low <= score.rate <= score.high < 1
