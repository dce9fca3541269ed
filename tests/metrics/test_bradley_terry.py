"""Strengths among several variants: against an independent fit, and as often right as they say."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.metrics.bradley_terry import bradley_terry_scores
from bgexp.metrics.win_rate import Vote, win_rate

IDS = ["a", "b", "c", "d"]
TRUE = {"a": 0.0, "b": 0.5, "c": 1.0, "d": -0.8}  # log-strengths


def chance(one, other):
    return 1 / (1 + math.exp(TRUE[other] - TRUE[one]))


def judged(rng, n):
    votes = []
    for image in range(n):
        left, right = rng.choice(IDS, 2, replace=False)
        choice = "left" if rng.random() < chance(left, right) else "right"
        votes.append(Vote(image=f"{image}", left=left, right=right, choice=choice))
    return votes


def maximum_likelihood(votes):
    """Rates by the algorithm of Zermelo (1929) as in Hunter (Annals of Statistics 2004)."""
    worth = dict.fromkeys(IDS, 1.0)
    won = {one: sum(vote.won(one) for vote in votes if one in vote.sides) for one in IDS}
    met = Counter(vote.sides for vote in votes)
    for _ in range(300):
        new = {
            one: won[one]
            / sum(met[frozenset((one, o))] / (worth[one] + worth[o]) for o in IDS if o != one)
            for one in IDS
        }
        worth = {one: value / sum(new.values()) for one, value in new.items()}
    return {
        one: np.mean([worth[one] / (worth[one] + worth[o]) for o in IDS if o != one]) for one in IDS
    }


def test_rates_are_those_of_an_independent_fit():
    votes = judged(np.random.default_rng(1), 3000)
    votes = [v.model_copy(update={"choice": "tie"}) if v.image[-1] == "7" else v for v in votes]
    expected = maximum_likelihood(votes)
    for found in bradley_terry_scores(votes, IDS):
        assert found.rate == pytest.approx(expected[found.run_id], abs=1e-3)


def test_of_two_it_is_nearly_the_win_rate():
    votes = [
        Vote(image=f"{n}", left="a", right="b", choice="left" if n < 65 else "right")
        for n in range(100)
    ]
    one, other = bradley_terry_scores(votes, ["a", "b"])
    expected = win_rate(votes, "a", "b")
    assert (one.rate, one.low, one.high) == pytest.approx(
        (expected.rate, expected.low, expected.high), abs=0.003
    )
    assert other.rate == pytest.approx(1 - one.rate)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    truth = {o: np.mean([chance(o, other) for other in IDS if other != o]) for o in IDS}
    held = [
        found.low <= truth[found.run_id] <= found.high
        for _ in range(100)
        for found in bradley_terry_scores(judged(rng, 80), IDS)
    ]
    assert 0.92 < np.mean(held) < 0.99


def test_judges_who_agree_narrow_nothing():
    votes = judged(np.random.default_rng(3), 60)
    thrice = [vote.model_copy(update={"judge": judge}) for judge in "xyz" for vote in votes]
    for once, again in zip(
        bradley_terry_scores(votes, IDS), bradley_terry_scores(thrice, IDS), strict=True
    ):
        assert again.n == 3 * once.n
        assert again.high - again.low > 0.85 * (once.high - once.low)


def test_who_never_lost_and_who_was_never_shown():
    votes = [Vote(image=f"{n}", left="a", right="b", choice="left") for n in range(10)]
    a, b, c = bradley_terry_scores(votes, ["a", "b", "c"])
    assert a.rate > 0.8
    assert a.high < 1
    assert a.low > 0.3
    assert b.rate < 0.5
    assert (c.run_id, c.n) == ("c", 0)
    assert math.isnan(c.rate)


def test_both_bad_repeats_and_other_runs_do_not_count():
    votes = judged(np.random.default_rng(4), 40)
    more = [
        Vote(image="x", left="a", right="b", choice="both_bad"),
        Vote(image="x", left="a", right="b", choice="left", repeat=True),
        Vote(image="x", left="a", right="e", choice="left"),
    ]
    assert bradley_terry_scores([*votes, *more], IDS) == bradley_terry_scores(votes, IDS)
    assert all(math.isnan(found.rate) for found in bradley_terry_scores(more, IDS))


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
    expected = {found.run_id: found for found in bradley_terry_scores(votes, ["a", "b", "c"])}
    for found in bradley_terry_scores(other, ["c", "a", "b"]):
        one = expected[found.run_id]
        assert found.n == one.n
        if one.n:
            assert (found.rate, found.low, found.high) == pytest.approx(
                (one.rate, one.low, one.high), abs=1e-6
            )
            assert 0 < found.low <= found.rate <= found.high < 1
