"""One metric over many images: worked by hand, and laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.metrics.aggregation import aggregate

NAN = math.nan


def test_aggregate_by_hand():
    # Sorted 0, 1, 2, 5: mean 8 / 4; median between 1 and 2; p05 at position 0.05 * 3 = 0.15,
    # between 0 and 1; p95 at position 0.95 * 3 = 2.85, between 2 and 5: 2 + 0.85 * 3.
    result = aggregate([5.0, NAN, 0.0, 2.0, NAN, 1.0, NAN])
    assert (result.mean, result.median, result.p05, result.p95) == pytest.approx(
        (2, 1.5, 0.15, 4.55)
    )
    assert (result.n_scored, result.n_undefined) == (4, 3)


@pytest.mark.parametrize("n_undefined", [0, 3])
def test_aggregate_of_nothing_is_undefined(n_undefined):
    result = aggregate([NAN] * n_undefined)
    assert all(math.isnan(v) for v in (result.mean, result.median, result.p05, result.p95))
    assert (result.n_scored, result.n_undefined) == (0, n_undefined)


@given(st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=40))
def test_aggregate_leaves_nan_out(values):
    scored = sorted(v for v in values if v == v)
    result = aggregate(values)
    assert result.n_scored + result.n_undefined == len(values)
    assert result.n_scored == len(scored)
    if scored:
        assert result.mean == pytest.approx(math.fsum(scored) / len(scored))
        middle = (scored[(len(scored) - 1) // 2] + scored[len(scored) // 2]) / 2
        assert result.median == pytest.approx(middle)
        assert scored[0] <= result.p05 <= result.median <= result.p95 <= scored[-1]
