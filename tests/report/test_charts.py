import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.report.charts import (
    FLOOR,
    HIGH,
    MAX_POINTS,
    SIDE,
    TOP,
    WIDE,
    WIDTH,
    Dot,
    histogram,
    paired,
    spread,
    stacked,
    tradeoff,
)

SHARES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=50)


def test_a_histogram_by_hand():
    found = histogram("IoU", np.array([0.0, 0.51, 0.52, 1.0, math.nan]), {"mean": 0.5, "p05": 0.0})
    assert [bar.label for bar in found.bars] == [
        "0.00 to 0.05: 1",
        "0.50 to 0.55: 2",
        "0.95 to 1.00: 1",
    ]
    assert [bar.height for bar in found.bars] == [(FLOOR - TOP) / 2, FLOOR - TOP, (FLOOR - TOP) / 2]
    assert [bar.x for bar in found.bars] == pytest.approx([1, WIDTH / 2 + 1, 0.95 * WIDTH + 1])
    assert [(mark.at, mark.label) for mark in found.marks] == [
        (WIDTH / 2, "mean 0.50"),
        (0, "p05 0.00"),
    ]
    assert found.n == 4


def test_whole_numbers():
    found = histogram("Parts", np.array([0.0, 3.0, 10.0, 40.0]), {"mean": math.nan}, whole=True)
    assert [bar.label for bar in found.bars] == ["0: 1", "3: 1", "10 or more: 2"]
    assert found.marks == []


@given(SHARES)
def test_a_histogram_stays_in_its_frame_and_counts_all(values):
    found = histogram("", np.array(values, float), {})
    assert sum(int(bar.label.rpartition(": ")[2]) for bar in found.bars) == found.n
    assert found.n == sum(not math.isnan(value) for value in values)
    for bar in found.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert bar.y + bar.height == pytest.approx(FLOOR)
        assert bar.y >= TOP - 1e-9


def test_a_paired_scatter_by_hand():
    before, after = np.array([0.5, 0.25, 0.5, math.nan]), np.array([0.75, 0.25, 0.0, 1.0])
    found = paired(before, after, ["a", "b", "c", "d"])
    dots = {point.label[0]: (point.x, point.y, point.kind) for point in found.points}
    assert dots == {
        "a": (0.5 * SIDE, 0.25 * SIDE, "better"),
        "b": (0.25 * SIDE, 0.75 * SIDE, "same"),
        "c": (0.5 * SIDE, SIDE, "worse"),
    }
    assert found.n == 3


def test_of_many_pairs_the_extremes_are_drawn():
    random = np.random.default_rng(0)
    before, after = random.random((2, 4000))
    found = paired(before, after, [str(n) for n in range(4000)])
    labels = {point.label.partition(":")[0] for point in found.points}
    assert (len(labels), found.n) == (MAX_POINTS, 4000)
    change = after - before
    assert {str(change.argmax()), str(change.argmin())} <= labels


JOBS = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=12)


@given(JOBS)
def test_jobs_stay_in_the_frame_and_texts_do_not_collide(numbers):
    jobs = [Dot(f"refine=grabcut band={n}", str(n), *pair) for n, pair in enumerate(numbers)]
    found = tradeoff(jobs)
    assert len(found.points) == len(jobs)
    boxes = []
    for point in found.points:
        assert 0 <= point.x <= WIDE
        assert 0 <= point.y <= HIGH
        if point.text is not None:
            width = 6.6 * len(point.text.label)
            left = point.text.at - (width if point.text.anchor == "end" else 0)
            boxes.append((left, left + width, point.text_y))
    for (a, b, y), (c, d, z) in itertools.combinations(boxes, 2):
        assert b <= c or d <= a or abs(y - z) >= 14
    assert len(found.across) >= 2


def test_faster_is_left_and_better_is_up():
    found = tradeoff(
        [Dot("a", "0", 1.0, 0.8), Dot("b", "1", 2.0, 0.9), Dot("c", "2", 1.0, math.nan)]
    )
    a, b = found.points
    assert a.x < b.x
    assert a.y > b.y
    assert a.label == "0, a: 0.800 at 1 s an image"
    assert tradeoff([]).points == []


def test_a_line_joins_the_front_by_steps():
    a, b = (Dot(name, name, s, q, on_front=True) for name, s, q in (("a", 1, 0.5), ("b", 2, 0.9)))
    found = tradeoff([b, Dot("c", "c", 3, 0.2), a])
    dots = {point.label[0]: (point.x, point.y) for point in found.points}
    line = [tuple(map(float, pair.split(","))) for pair in found.front.split()]
    corner = dots["b"][0], dots["a"][1]  # as good as a, until there is time for b
    assert line == [pytest.approx(p, abs=0.06) for p in (dots["a"], corner, dots["b"])]
    assert tradeoff([Dot("a", "a", 1, 0.5)]).front == ""


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1000), min_size=1, max_size=6))
def test_parts_of_a_whole(parts):
    bars = stacked(parts)
    if sum(parts.values()) == 0:
        assert bars == []
        return
    assert sum(bar.width for bar in bars) == pytest.approx(100)
    for one, following in itertools.pairwise(bars):
        assert following.x == pytest.approx(one.x + one.width)


# -- spread --------------------------------------------------------------------------------------


def test_a_spread_by_hand():
    """From 100 / 1.05 to 10,000 * 1.05; four times as many are twice as high."""
    values = np.array([100.0] * 4 + [10_000.0, math.nan, 0.0, -5.0])
    found = spread("bytes", values, 1000.0, math.inf, "bytes")
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
    low, high = spread("", values, 50.0, 1e9).marks
    assert 0 < low.at < WIDTH  # within a factor of three
    assert high.at == WIDTH
    assert (low.label, high.label[-1]) == ("lower bound 50", "→")
    assert spread("", values, math.nan, -math.inf).marks == []


def test_nothing_to_spread():
    for values in ([], [math.nan], [0.0]):
        found = spread("x", np.array(values), 1.0, 2.0)
        assert (found.title, found.bars, found.n) == ("x", [], 0)
    assert len(spread("x", np.array([7.0] * 9), math.nan, math.nan).bars) == 1


@given(
    st.lists(st.floats(1e-3, 1e12) | st.just(math.nan), max_size=40),
    st.floats(0, 1e12),
    st.floats(1e-3, 1e12) | st.just(math.inf),
)
def test_a_spread_stays_in_its_frame_and_counts_all(values, low, high):
    found = spread("", np.array(values, float), low, high)
    assert found.n == sum(not math.isnan(value) for value in values)
    counts = [int(bar.label.rpartition(": ")[2].replace(",", "")) for bar in found.bars]
    assert sum(counts) == found.n
    for bar in found.bars:
        assert -1e-6 <= bar.x <= bar.x + bar.width <= WIDTH + 1e-6
        assert bar.y + bar.height == pytest.approx(FLOOR)
        assert bar.y >= TOP - 1e-9
    assert all(0 <= one.at <= WIDTH for one in (*found.marks, *found.ticks))
