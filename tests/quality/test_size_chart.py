import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.quality.size_chart import plot_sizes
from bgexp.report.charts import FLOOR, TOP, WIDTH


def test_a_spread_by_hand():
    """From 100 / 1.05 to 10,000 * 1.05; four times as many are twice as high."""
    values = np.array([100.0] * 4 + [10_000.0, math.nan, 0.0, -5.0])
    found = plot_sizes("bytes", values, 1000.0, math.inf, "bytes")
    assert (found.title, found.n) == ("bytes", 5)
    first, last = found.bars
    assert (first.label.rpartition(": ")[2], last.label.rpartition(": ")[2]) == ("4", "1")
    assert "bytes" in first.label
    assert (first.height, last.height) == pytest.approx((FLOOR - TOP, (FLOOR - TOP) / 2))
    assert [(mark.at, mark.label) for mark in found.marks] == [
        (pytest.approx(WIDTH / 2), "lower bound 1,000")
    ]
    assert [tick.label for tick in found.ticks] == ["95.2", "1,000", "10,500"]
    assert [tick.at for tick in found.ticks] == [0, WIDTH / 2, WIDTH]


def test_bounds_in_and_out_of_the_picture():
    values = np.array([100.0, 200.0])
    low, high = plot_sizes("", values, 50.0, 1e9).marks
    assert 0 < low.at < WIDTH  # within a factor of three
    assert high.at == WIDTH
    assert (low.label, high.label[-1]) == ("lower bound 50", "→")
    assert plot_sizes("", values, math.nan, -math.inf).marks == []


def test_nothing_to_spread():
    for values in ([], [math.nan], [0.0]):
        found = plot_sizes("x", np.array(values), 1.0, 2.0)
        assert (found.title, found.bars, found.n) == ("x", [], 0)
    assert len(plot_sizes("x", np.array([7.0] * 9), math.nan, math.nan).bars) == 1


@given(
    st.lists(st.floats(1e-3, 1e12) | st.just(math.nan), max_size=40),
    st.floats(0, 1e12),
    st.floats(1e-3, 1e12) | st.just(math.inf),
)
def test_a_spread_stays_in_its_frame_and_counts_all(values, low, high):
    found = plot_sizes("", np.array(values, float), low, high)
    assert found.n == sum(not math.isnan(value) for value in values)
    counts = [int(bar.label.rpartition(": ")[2].replace(",", "")) for bar in found.bars]
    assert sum(counts) == found.n
    for bar in found.bars:
        assert -1e-6 <= bar.x <= bar.x + bar.width <= WIDTH + 1e-6
        assert bar.y + bar.height == pytest.approx(FLOOR)
        assert bar.y >= TOP - 1e-9
    assert all(0 <= one.at <= WIDTH for one in (*found.marks, *found.ticks))
