import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.statistics import paired_change, rank_agreement

UNIT = st.floats(0, 1)
PAIRS = st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=30)


def test_a_change_by_hand():
    found = paired_change([0.25, 0.5, 1.0, math.nan], [0.75, 0.5, 0.75, 1.0])
    assert (found.n, found.n_better, found.n_worse) == (3, 1, 1)
    assert found.before == pytest.approx(1.75 / 3)
    assert found.after == pytest.approx(2 / 3)
    assert found.change == pytest.approx(0.25 / 3)


def test_the_interval_is_that_of_resampling():
    rng = np.random.default_rng(1)
    before, after = rng.random(40), rng.random(40)
    changes = after - before
    means = changes[rng.integers(0, 40, (20_000, 40))].mean(axis=1)
    found = paired_change(before, after)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        before = rng.random(30)
        found = paired_change(before, before + rng.normal(0.1, 0.2, 30))
        held += found.low <= 0.1 <= found.high
    assert 88 <= held <= 100


def test_few_or_equal_pairs():
    nothing = astuple(paired_change([], []))
    assert nothing[0] == 0
    assert all(math.isnan(value) for value in nothing[1:6])
    assert math.isnan(paired_change([0.1, 0.2], [0.5, 0.2]).low)
    same = paired_change([0.5] * 4, [0.75] * 4)
    assert (same.low, same.change, same.high) == (0.25, 0.25, 0.25)


@given(PAIRS)
def test_a_change_backwards_is_its_opposite(pairs):
    before, after = zip(*pairs, strict=True)
    there, back = paired_change(before, after), paired_change(after, before)
    assert there.change == pytest.approx(-back.change)
    assert (there.n_better, there.n_worse) == (back.n_worse, back.n_better)
    assert there == paired_change(before, after)
    if not math.isnan(there.low):
        assert there.low <= there.change + 1e-12
        assert there.change <= there.high + 1e-12


def test_ranks_by_hand():
    # 1 - 6 * sum(d^2) / (n (n^2 - 1)) with d = (0, 1, 1, 0): 1 - 12 / 60.
    assert rank_agreement([1, 2, 3, 4], [10, 30, 20, 40]).spearman == pytest.approx(0.8)
    assert rank_agreement([1, 2, 3], [3, 2, 1]).spearman == pytest.approx(-1)
    # Ties share their mean rank: (1, 2.5, 2.5, 4) against (1, 2, 3, 4) gives 4.5 / sqrt(4.5 * 5).
    ties = rank_agreement([1, 2, 2, 3], [1, 2, 3, 4])
    assert ties.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_ranks_that_say_nothing():
    assert math.isnan(rank_agreement([1, 2], [1, 2]).spearman)
    assert math.isnan(rank_agreement([1, 1, 1], [1, 2, 3]).spearman)
    found = rank_agreement([1, 2, 3, math.nan], [1, 2, 3, 4])
    assert (found.spearman, found.n) == (pytest.approx(1), 3)


@given(PAIRS)
def test_ranks_do_not_care_for_the_scale(pairs):
    one, other = (np.array(side) for side in zip(*pairs, strict=True))
    found, grown = rank_agreement(one, other), rank_agreement(2 * one + 1, other)
    assert grown.n == found.n
    if len(set(2 * one + 1)) == len(set(one)):  # no two fell together
        assert grown.spearman == pytest.approx(found.spearman, nan_ok=True)
    assert math.isnan(found.spearman) or -1 - 1e-9 <= found.spearman <= 1 + 1e-9


def test_values_of_different_images_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1"):
        paired_change([0.1, 0.2], [0.1])
