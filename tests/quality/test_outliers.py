import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bgexp.config.analyze import Outliers
from bgexp.quality.outliers import (
    LEAST_IN_CATEGORY,
    collect_dimensions,
    compute_bounds,
    find_outlier_reasons,
    find_outliers,
)

METHODS = ["iqr", "mad", "zscore"]
VALUES = np.array([1.0, 2, 4, 8, 16])  # logarithms 0 to 4 times log 2


def limits_of(limits):
    return limits.low, limits.high


def test_by_hand():
    """Expect quartiles 2 and 8, a factor of 4; median 4, median deviation a factor of 2."""
    iqr = compute_bounds(VALUES, Outliers(method="iqr", limit=1.5))
    assert limits_of(iqr) == pytest.approx((2 / 4**1.5, 8 * 4**1.5))
    mad = compute_bounds(VALUES, Outliers(method="mad", limit=2))
    assert limits_of(mad) == pytest.approx((4 / 2**2.9652, 4 * 2**2.9652))
    zscore = compute_bounds(VALUES, Outliers(method="zscore", limit=3))
    assert limits_of(zscore) == pytest.approx((4 / 2 ** (3 * 2**0.5), 4 * 2 ** (3 * 2**0.5)))
    assert limits_of(compute_bounds(VALUES, Outliers(method="iqr", limit=1), log=False)) == (-4, 14)


@pytest.mark.parametrize("log", [True, False])
def test_against_scipy(log):
    values = np.random.default_rng(0).lognormal(10, 1, 500)
    scaled = np.log(values) if log else values
    back = np.exp if log else np.array
    quartiles, spread = np.quantile(scaled, (0.25, 0.75)), stats.iqr(scaled)
    expected = {
        "iqr": back([quartiles[0] - 1.5 * spread, quartiles[1] + 1.5 * spread]),
        "mad": back(
            np.median(scaled)
            + 1.5 * np.array([-1, 1]) * 1.4826 * stats.median_abs_deviation(scaled)
        ),
        "zscore": back(scaled.mean() + 1.5 * np.array([-1, 1]) * scaled.std()),
    }
    for method, ends in expected.items():
        limits = compute_bounds(values, Outliers(method=method, limit=1.5), log)
        assert limits_of(limits) == pytest.approx(tuple(ends))
    outside = compute_bounds(values, Outliers(method="zscore", limit=1.5), log).find_outside(values)
    assert np.array_equal(outside, np.abs(stats.zscore(scaled)) > 1.5)


@pytest.mark.parametrize("method", METHODS)
def test_where_most_are_equal_a_little_is_no_outlier(method):
    values = np.array([100.0] * 50 + [101, 99, 100.5])
    settings = Outliers(method=method, limit=3)
    assert not compute_bounds(values, settings).find_outside(values).any()
    assert not compute_bounds(values, settings, log=False).find_outside(values).any()
    far = np.append(values, [300.0, 20.0])
    assert list(np.flatnonzero(compute_bounds(far, settings).find_outside(far))) == [53, 54]
    same = compute_bounds(np.full(9, 5.0), settings)
    assert same.low < 5 < same.high


@pytest.mark.parametrize("method", METHODS)
def test_undefined_and_single_values(method):
    settings = Outliers(method=method)
    for values in ([], [math.nan]):
        assert limits_of(compute_bounds(np.array(values, float), settings)) == (-math.inf, math.inf)
    with_gap = np.array([*VALUES, math.nan])
    assert limits_of(compute_bounds(with_gap, settings)) == limits_of(
        compute_bounds(VALUES, settings)
    )
    assert not compute_bounds(with_gap, settings).find_outside(with_gap)[-1]
    single = np.array([7.0])
    assert not compute_bounds(single, settings).find_outside(single).any()


def test_a_limit_beyond_all_numbers():
    limits = compute_bounds(VALUES, Outliers(limit=1e6))
    assert limits_of(limits) == (0, math.inf)


@given(
    st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=30),
    st.floats(1e-3, 1e3),
    st.sampled_from(METHODS),
)
def test_bounds_have_the_unit_of_the_values(values, factor, method):
    values, settings = np.array(values), Outliers(method=method, limit=3)
    for log in (True, False):
        limits, scaled_limits = (
            compute_bounds(values, settings, log),
            compute_bounds(values * factor, settings, log),
        )
        size = abs(values).max() * factor
        for a, b in zip(limits_of(limits), limits_of(scaled_limits), strict=True):
            assert b == pytest.approx(a * factor, rel=1e-6, abs=0 if log else 1e-6 * size)
        assert limits.low < limits.high


def test_each_category_has_its_own_bounds():
    large = [1000.0] * LEAST_IN_CATEGORY
    values = pd.Series([10.0] * 40 + large + [1000.0])
    values.index = range(5, 5 + len(values))
    names = pd.Series(["a"] * 40 + ["b"] * len(large) + ["a"], values.index)
    everywhere = find_outliers(values, names, Outliers(by="all"))
    assert list(np.flatnonzero(everywhere)) == list(range(40, 49))
    apart = find_outliers(values, names, Outliers(by="category"))
    assert list(apart.index[apart]) == [5 + 48]
    few = values.drop(index=5 + 40)
    outliers = find_outliers(few, names.drop(index=5 + 40), Outliers(by="category"))
    assert int(outliers.sum()) == LEAST_IN_CATEGORY  # too few of b: the bounds of all count


def test_dimensions_do_not_depend_on_the_way_up():
    rows = pd.DataFrame({"width": [400, 300, 200], "height": [300, 400, 200]})
    sizes = {name: list(values) for name, values in collect_dimensions(rows).items()}
    assert sizes == {
        "longer side": [400, 400, 200],
        "shorter side": [300, 300, 200],
        "aspect": pytest.approx([4 / 3, 4 / 3, 1]),
    }


def test_reasons():
    sides = [(400, 300)] * 10 + [(300, 400), (4000, 300), (4000, 3000)]
    rows = pd.DataFrame(sides, columns=["width", "height"]).assign(category="a")
    rows.index = range(3, 3 + len(rows))
    reasons = find_outlier_reasons(rows, Outliers())
    assert reasons[:11] == [[]] * 11
    assert reasons[11:] == [["longer side", "aspect"], ["longer side", "shorter side"]]
