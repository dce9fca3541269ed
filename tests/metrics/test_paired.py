import math
from dataclasses import astuple

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bgexp.metrics.paired import (
    PairedChange,
    bootstrap_interval,
    compute_paired_change,
    compute_rank_agreement,
    estimate_images_to_decide,
)

UNIT = st.floats(0, 1)
PAIRS = st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=30)


def test_a_change_by_hand():
    change = compute_paired_change([0.25, 0.5, 1.0, math.nan], [0.75, 0.5, 0.75, 1.0])
    assert (change.n, change.n_better, change.n_worse) == (3, 1, 1)
    assert change.before == pytest.approx(1.75 / 3)
    assert change.after == pytest.approx(2 / 3)
    assert change.change == pytest.approx(0.25 / 3)


def test_the_interval_is_that_of_resampling():
    rng = np.random.default_rng(1)
    before, after = rng.random(40), rng.random(40)
    changes = after - before
    means = changes[rng.integers(0, 40, (20_000, 40))].mean(axis=1)
    change = compute_paired_change(before, after)
    assert (change.low, change.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_the_interval_of_changes_that_span_one():
    """From 0 to 1, which is no change that all have."""
    change = compute_paired_change([0.0] * 20, [0.0, 1.0] * 10)
    assert 0.1 < change.low < 0.5 < change.high < 0.9


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        before = rng.random(30)
        change = compute_paired_change(before, before + rng.normal(0.1, 0.2, 30))
        held += change.low <= 0.1 <= change.high
    assert 88 <= held <= 100


def test_few_or_equal_pairs():
    nothing = astuple(compute_paired_change([], []))
    assert (nothing[0], nothing[6:]) == (0, (0, 0))
    assert all(math.isnan(value) for value in nothing[1:6])
    assert math.isnan(compute_paired_change([0.1, 0.2], [0.5, 0.2]).low)
    assert not math.isnan(compute_paired_change([0.1, 0.2, 0.3], [0.5, 0.2, 0.3]).low)
    same = compute_paired_change([0.5] * 4, [0.75] * 4)
    assert (same.low, same.change, same.high) == (0.25, 0.25, 0.25)


@given(PAIRS)
def test_a_change_backwards_is_its_opposite(pairs):
    before, after = zip(*pairs, strict=True)
    there, back = compute_paired_change(before, after), compute_paired_change(after, before)
    assert there.change == pytest.approx(-back.change)
    assert (there.n_better, there.n_worse) == (back.n_worse, back.n_better)
    assert there == compute_paired_change(before, after)
    if not math.isnan(there.low):
        assert there.low <= there.change + 1e-12
        assert there.change <= there.high + 1e-12


def test_ranks_by_hand():
    # 1 - 6 * sum(d^2) / (n (n^2 - 1)) with d = (0, 1, 1, 0): 1 - 12 / 60.
    assert compute_rank_agreement([1, 2, 3, 4], [10, 30, 20, 40]).spearman == pytest.approx(0.8)
    assert compute_rank_agreement([1, 2, 3], [3, 2, 1]).spearman == pytest.approx(-1)
    # Ties share their mean rank: (1, 2.5, 2.5, 4) against (1, 2, 3, 4) gives 4.5 / sqrt(4.5 * 5).
    ties = compute_rank_agreement([1, 2, 2, 3], [1, 2, 3, 4])
    assert ties.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))


def test_ranks_that_say_nothing():
    few = compute_rank_agreement([1, 2], [1, 2])
    assert math.isnan(few.spearman)
    assert few.n == 2
    assert compute_rank_agreement([], []).n == 0
    assert math.isnan(compute_rank_agreement([1, 1, 1], [1, 2, 3]).spearman)
    agreement = compute_rank_agreement([1, 2, 3, math.nan], [1, 2, 3, 4])
    assert (agreement.spearman, agreement.n) == (pytest.approx(1), 3)


@given(PAIRS)
def test_ranks_do_not_care_for_the_scale(pairs):
    first, other = (np.array(side) for side in zip(*pairs, strict=True))
    agreement, grown = (
        compute_rank_agreement(first, other),
        compute_rank_agreement(2 * first + 1, other),
    )
    assert grown.n == agreement.n
    if len(set(2 * first + 1)) == len(set(first)):  # no two fell together
        assert grown.spearman == pytest.approx(agreement.spearman, nan_ok=True)
    assert math.isnan(agreement.spearman) or -1 - 1e-9 <= agreement.spearman <= 1 + 1e-9


def test_values_of_different_images_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1"):
        compute_paired_change([0.1, 0.2], [0.1])


# -- agreement with SciPy, clusters, what would decide -------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_agrees_with_scipys_bootstrap(seed):
    rng = np.random.default_rng(seed)
    before = rng.random(120)
    after = before + rng.gamma(2.0, 0.02, 120) - 0.03
    theirs = scipy.stats.bootstrap(
        (before, after),
        lambda first, other, axis: np.mean(other - first, axis=axis),
        paired=True,
        n_resamples=20_000,
        batch=500,
        method="percentile",
        rng=np.random.default_rng(seed + 100),
    ).confidence_interval
    change = compute_paired_change(before, after)
    half = (theirs.high - theirs.low) / 2
    assert (change.low, change.high) == pytest.approx(tuple(theirs), abs=0.1 * half)


def draw_clusters(rng, n_clusters, effect=0.0, size=10):
    """Changes that images of a cluster have mostly in common."""
    shared = rng.normal(effect, 0.05, n_clusters).repeat(size)
    before = rng.random(n_clusters * size)
    clusters = [f"c{number}" for number in range(n_clusters) for _ in range(size)]
    return before, before + shared + rng.normal(0, 0.01, n_clusters * size), clusters


def test_resamples_are_as_many_as_asked_for_and_the_same_each_time():
    shapes = []

    def average(values, axis):
        shapes.append(values.shape)
        return values.mean(axis)

    values = (np.arange(7.0) ** 2,)
    interval = bootstrap_interval(values, average, 250, 0.9)
    assert (sum(n for n, _ in shapes), {n for _, n in shapes}) == (250, {7})
    means = values[0][np.random.default_rng(0).integers(0, 7, (250, 7))].mean(axis=1)
    assert interval == pytest.approx(np.quantile(means, [0.05, 0.95]))


def test_clusters_are_drawn_whole():
    rng = np.random.default_rng(3)
    before = rng.random(60)
    sizes = [1, 2, 4, 8, 5, 10, 20, 10]
    clusters = np.repeat([f"c{number}" for number in range(8)], sizes)
    after = before + np.repeat(rng.normal(0.02, 0.05, 8), sizes)
    changes, drawn = after - before, rng.integers(0, 8, (20_000, 8))
    slow = []
    for picks in drawn[:5000]:
        slow.append(np.concatenate([changes[clusters == f"c{pick}"] for pick in picks]).mean())
    change = compute_paired_change(before, after, clusters)
    assert change.change == pytest.approx(changes.mean())
    half = np.ptp(np.quantile(slow, [0.025, 0.975])) / 2
    assert (change.low, change.high) == pytest.approx(
        np.quantile(slow, [0.025, 0.975]), abs=0.1 * half
    )


def test_alike_images_do_not_count_for_many():
    rng = np.random.default_rng(4)
    held, naive = 0, 0
    for _ in range(100):
        before, after, clusters = draw_clusters(rng, 20)
        with_clusters, without = (
            compute_paired_change(before, after, clusters),
            compute_paired_change(before, after),
        )
        held += with_clusters.low <= 0 <= with_clusters.high
        naive += without.low <= 0 <= without.high
    assert held >= 88
    assert naive <= 70  # each image by itself: far surer than it may be


def test_a_cluster_each_is_no_cluster():
    rng = np.random.default_rng(5)
    before, after = rng.random((2, 50))
    each = compute_paired_change(before, after, [str(n) for n in range(50)])
    alone = compute_paired_change(before, after)
    assert (each.low, each.high) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_few_clusters_and_undefined_pairs():
    before, after = [0.1] * 30, [0.2, 0.3, 0.4] * 10
    five = [f"c{n % 5}" for n in range(30)]
    assert math.isnan(compute_paired_change(before, after, five).low)
    assert compute_paired_change(before, after, five).n == 30
    six = [f"c{n % 6}" for n in range(30)]
    assert not math.isnan(compute_paired_change(before, after, six).low)
    gap = compute_paired_change([math.nan, *before], [0.5, *after], ["lone", *six])
    assert gap == compute_paired_change(before, after, six)
    with pytest.raises(ValueError, match="got 1 for 30"):
        compute_paired_change(before, after, ["a"])


def make_change(mean, half, n=100):
    return PairedChange(n, 0.5, 0.5 + mean, mean, mean - half, mean + half, 1, 1)


def test_how_many_more_images_by_hand():
    # The half width is 1.96 standard errors; 1.96 + 0.84 of them have to fit into the change:
    # (2.8016 / 1.95996 * half / change)^2 = 2.0431 (half / change)^2 times as many images.
    assert estimate_images_to_decide(make_change(0.01, 0.02), 0.005) == math.ceil(817.25) - 100
    assert estimate_images_to_decide(make_change(-0.01, 0.02), 0.005) == math.ceil(817.25) - 100
    assert estimate_images_to_decide(make_change(0.01, 0.005), 0.005) == 0  # there are enough
    assert estimate_images_to_decide(make_change(0.004, 0.02), 0.005) is None
    assert estimate_images_to_decide(make_change(0.005, 0.005), 0.005) is not None
    assert estimate_images_to_decide(make_change(0.01, math.nan), 0.005) is None
    assert estimate_images_to_decide(compute_paired_change([], []), 0.005) is None


def test_so_many_images_do_decide():
    """With as many as are told, the change is found in about 80 of 100 cases."""
    rng = np.random.default_rng(6)
    n = 40 + estimate_images_to_decide(make_change(0.01, 1.96 * 0.05 / math.sqrt(40), 40), 0.005)
    assert n == pytest.approx((2.8016 * 0.05 / 0.01) ** 2, rel=0.02)
    n_decided = 0
    for _ in range(100):
        before = rng.random(n)
        n_decided += compute_paired_change(before, before + rng.normal(0.01, 0.05, n)).low > 0
    assert 68 <= n_decided <= 92


@pytest.mark.parametrize("clusters", [None, [f"c{n % 25}" for n in range(200)]])
@pytest.mark.parametrize(("difference", "least"), [(0.0, 90), (0.02, 95)])
def test_equal_variants_are_undecided_and_a_difference_is_found(difference, least, clusters):
    rng = np.random.default_rng(7)
    right = 0
    for _ in range(100):
        before = rng.normal(0.8, 0.1, 200)
        change = compute_paired_change(before, before + rng.normal(difference, 0.05, 200), clusters)
        right += (change.low > 0) if difference else (change.low <= 0 <= change.high)
    assert right >= least
