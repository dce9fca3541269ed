"""Win rates: by hand, by SciPy, as often right as they say; the self-agreement of a judge."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest

from bgexp.metrics.win_rate import Vote, compute_self_agreement, compute_win_rate

CHOICES = st.sampled_from(["left", "right", "tie", "both_bad"])
SWAPPED = {"left": "right", "right": "left"}


def vote(choice, image="1.jpg", left="a", right="b", **extra):
    return Vote(image=image, left=left, right=right, choice=choice, **extra)


def draw_votes(rng, chance, images, judges=1):
    """Votes of judges who prefer a to b with this chance, on random sides."""
    votes = []
    for image in range(images):
        for judge in range(judges):
            a_left, prefers_a = rng.random() < 0.5, rng.random() < chance
            sides = ("a", "b") if a_left else ("b", "a")
            choice = "left" if a_left == prefers_a else "right"
            votes.append(vote(choice, f"{image}.jpg", *sides, judge=f"{judge}"))
    return votes


ANY = st.builds(
    vote,
    CHOICES,
    st.sampled_from([f"{number}.jpg" for number in range(5)]),
    *(st.just("a"), st.just("b")),
    repeat=st.booleans(),
    judge=st.sampled_from(["one", "two"]),
)
MANY = st.lists(ANY, max_size=30)


def test_a_rate_by_hand():
    votes = [
        vote("left", "1.jpg"),
        vote("right", "2.jpg"),
        vote("left", "3.jpg", "b", "a"),
        vote("tie", "4.jpg"),
        vote("both_bad", "5.jpg"),
        vote("left", "6.jpg", "a", "c"),  # of other runs
        vote("right", "1.jpg", "b", "a", repeat=True),
    ]
    rate = compute_win_rate(votes, "a", "b")
    assert (rate.wins, rate.ties, rate.losses) == (1, 1, 2)
    assert (rate.n, rate.n_both_bad, rate.n_images, rate.n_effective) == (4, 1, 4, 4.0)
    assert rate.rate == (1 + 0.5) / 4
    assert not rate.decided


@pytest.mark.parametrize(("wins", "n"), [(0, 1), (0, 10), (10, 10), (7, 10), (65, 100), (1, 500)])
def test_the_interval_is_wilsons(wins, n):
    votes = [vote("left" if number < wins else "right", f"{number}") for number in range(n)]
    expected = binomtest(wins, n).proportion_ci(method="wilson")
    rate = compute_win_rate(votes, "a", "b")
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_covers_a_preference_of_65_percent():
    rng = np.random.default_rng(1)
    rates = [compute_win_rate(draw_votes(rng, 0.65, 100), "a", "b") for _ in range(100)]
    assert all(rate.n == 100 for rate in rates)
    assert 90 <= sum(rate.low <= 0.65 <= rate.high for rate in rates) <= 99


def test_judges_of_one_image_are_not_independent():
    rng = np.random.default_rng(2)
    covered, naive = 0, 0
    for _ in range(200):
        votes = []
        for image, chance in enumerate(rng.beta(1.3, 0.7, 40)):  # its mean is 0.65
            image_votes = draw_votes(rng, chance, 1, judges=3)
            votes += [vote.model_copy(update={"image": f"{image}.jpg"}) for vote in image_votes]
        interval = compute_win_rate(votes, "a", "b")
        assert (interval.n, interval.n_images) == (120, 40)
        covered += interval.low <= 0.65 <= interval.high
        apart = [vote.model_copy(update={"image": f"{n}.jpg"}) for n, vote in enumerate(votes)]
        rate = compute_win_rate(apart, "a", "b")
        naive += rate.low <= 0.65 <= rate.high
    assert naive < 180 < covered


def test_judges_who_always_agree_are_one_judge():
    once = [vote("left" if image < 7 else "right", f"{image}") for image in range(10)]
    thrice = [
        vote_once.model_copy(update={"judge": judge}) for judge in "abc" for vote_once in once
    ]
    alone, together = compute_win_rate(once, "a", "b"), compute_win_rate(thrice, "a", "b")
    assert together.n == 30
    assert together.n_effective == pytest.approx(10, rel=0.15)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=0.03)
    of_one = compute_win_rate([vote("left", judge=judge) for judge in "abc"], "a", "b")
    assert of_one.n_effective == 1


def test_no_votes_and_no_preference():
    for votes in ([], [vote("both_bad")]):
        rate = compute_win_rate(votes, "a", "b")
        assert rate.n == 0
        assert all(math.isnan(value) for value in (rate.rate, rate.low, rate.high))
        assert (rate.decided, rate.more_votes) == (False, None)
    assert rate.n_both_bad == 1


def test_how_many_more_votes_would_decide():
    def rate(wins, losses, both_bad=0):
        choices = ["left"] * wins + ["right"] * losses + ["both_bad"] * both_bad
        return compute_win_rate([vote(c, f"{n}") for n, c in enumerate(choices)], "a", "b")

    assert rate(90, 10).more_votes == 0
    assert rate(10, 10).more_votes is None
    # ((1.95996 / 2 + 0.84162 * sqrt(0.6 * 0.4)) / 0.1)^2 = 193.9
    assert rate(12, 8).more_votes == 194 - 20
    assert rate(12, 8, 20).more_votes == 2 * 174


def test_so_many_votes_find_it_in_80_of_100_cases():
    rng = np.random.default_rng(3)
    decided = [compute_win_rate(draw_votes(rng, 0.6, 194), "a", "b").decided for _ in range(300)]
    assert 0.73 < np.mean(decided) < 0.87


@given(MANY)
def test_the_other_side_has_the_rest(votes):
    rate, other = compute_win_rate(votes, "a", "b"), compute_win_rate(votes, "b", "a")
    assert (rate.wins, rate.ties, rate.losses) == (other.losses, other.ties, other.wins)
    assert rate.wins + rate.ties + rate.losses == rate.n
    if rate.n:
        assert rate.rate == pytest.approx(1 - other.rate)
        assert rate.low == pytest.approx(1 - other.high)
        assert 0 <= rate.low <= rate.rate + 1e-12
        assert 1 <= rate.n_effective <= rate.n


@given(MANY, st.randoms())
def test_neither_order_nor_sides_count(votes, random):
    swapped = [
        vote.model_copy(
            update={
                "left": vote.right,
                "right": vote.left,
                "choice": SWAPPED.get(vote.choice, vote.choice),
            }
        )
        for vote in votes
    ]
    random.shuffle(swapped)
    expected, rate = compute_win_rate(votes, "a", "b"), compute_win_rate(swapped, "a", "b")
    assert (rate.wins, rate.n, rate.n_both_bad) == (
        expected.wins,
        expected.n,
        expected.n_both_bad,
    )
    if rate.n:
        assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high))


def test_a_steady_judge_by_hand():
    votes = [
        vote("left", "1.jpg"),
        vote("right", "1.jpg", "b", "a", repeat=True),  # a again
        vote("left", "2.jpg"),
        vote("left", "2.jpg", "b", "a", repeat=True),  # now b
        vote("tie", "3.jpg"),
        vote("tie", "3.jpg", "b", "a", repeat=True),
        vote("both_bad", "4.jpg"),
        vote("tie", "4.jpg", "b", "a", repeat=True),
        vote("left", "5.jpg", "b", "a", repeat=True),  # the first look is missing
        vote("left", "1.jpg", judge="other"),
    ]
    agreement = compute_self_agreement(votes)
    assert (agreement.n, agreement.n_alike, agreement.share) == (4, 2, 0.5)
    expected = binomtest(2, 4).proportion_ci(method="wilson")
    assert (agreement.low, agreement.high) == pytest.approx((expected.low, expected.high))


def test_without_repeats_nothing_is_known_of_the_judge():
    agreement = compute_self_agreement([vote("left"), vote("right", "2.jpg")])
    assert agreement.n == 0
    assert math.isnan(agreement.share)
    assert math.isnan(agreement.low)


@given(MANY)
def test_only_second_looks_count(votes):
    agreement = compute_self_agreement(votes)
    assert 0 <= agreement.n_alike <= agreement.n <= sum(vote.repeat for vote in votes)


@pytest.mark.parametrize("wrong", [{"choice": "a"}, {"seconds": -1}, {"seconds": math.inf}])
def test_what_is_no_vote(wrong):
    with pytest.raises(ValidationError):
        Vote(**{"image": "1.jpg", "left": "a", "right": "b", "choice": "tie"} | wrong)
