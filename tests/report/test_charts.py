import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.report.charts import (
    FLOOR,
    HIGH,
    TOP,
    WIDE,
    WIDTH,
    Dot,
    draw_histogram,
    draw_tradeoff,
    stack_bars,
)

SHARES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=50)


def test_a_histogram_by_hand():
    histogram = draw_histogram(
        "IoU", np.array([0.0, 0.51, 0.52, 1.0, math.nan]), {"mean": 0.5, "p05": 0.0}
    )
    assert [bar.label for bar in histogram.bars] == [
        "0.00 to 0.05: 1",
        "0.50 to 0.55: 2",
        "0.95 to 1.00: 1",
    ]
    assert [bar.height for bar in histogram.bars] == [
        (FLOOR - TOP) / 2,
        FLOOR - TOP,
        (FLOOR - TOP) / 2,
    ]
    assert [bar.x for bar in histogram.bars] == pytest.approx([1, WIDTH / 2 + 1, 0.95 * WIDTH + 1])
    assert [(mark.at, mark.label) for mark in histogram.marks] == [
        (WIDTH / 2, "mean 0.50"),
        (0, "p05 0.00"),
    ]
    assert histogram.n == 4


def test_whole_numbers():
    histogram = draw_histogram(
        "Parts", np.array([0.0, 3.0, 10.0, 40.0]), {"mean": math.nan}, whole=True
    )
    assert [bar.label for bar in histogram.bars] == ["0: 1", "3: 1", "10 or more: 2"]
    assert histogram.marks == []


@given(SHARES)
def test_a_histogram_stays_in_its_frame_and_counts_all(values):
    histogram = draw_histogram("", np.array(values, float), {})
    assert sum(int(bar.label.rpartition(": ")[2]) for bar in histogram.bars) == histogram.n
    assert histogram.n == sum(not math.isnan(value) for value in values)
    for bar in histogram.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert bar.y + bar.height == pytest.approx(FLOOR)
        assert bar.y >= TOP - 1e-9


JOBS = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1)), min_size=1, max_size=12)


@given(JOBS)
def test_jobs_stay_in_the_frame_and_texts_do_not_collide(numbers):
    jobs = [Dot(f"refine=grabcut band={n}", str(n), *pair) for n, pair in enumerate(numbers)]
    scatter = draw_tradeoff(jobs)
    assert len(scatter.points) == len(jobs)
    boxes = []
    for point in scatter.points:
        assert 0 <= point.x <= WIDE
        assert 0 <= point.y <= HIGH
        if point.text is not None:
            width = 6.6 * len(point.text.label)
            left = point.text.at - (width if point.text.anchor == "end" else 0)
            boxes.append((left, left + width, point.text_y))
    for (a, b, y), (c, d, z) in itertools.combinations(boxes, 2):
        assert b <= c or d <= a or abs(y - z) >= 14
    assert len(scatter.across) >= 2


def test_faster_is_left_and_better_is_up():
    scatter = draw_tradeoff(
        [Dot("a", "0", 1.0, 0.8), Dot("b", "1", 2.0, 0.9), Dot("c", "2", 1.0, math.nan)]
    )
    a, b = scatter.points
    assert a.x < b.x
    assert a.y > b.y
    assert a.label == "0, a: 0.800 at 1 s an image"
    assert draw_tradeoff([]).points == []


def test_a_line_joins_the_front_by_steps():
    a, b = (Dot(name, name, s, q, on_front=True) for name, s, q in (("a", 1, 0.5), ("b", 2, 0.9)))
    scatter = draw_tradeoff([b, Dot("c", "c", 3, 0.2), a])
    dots = {point.label[0]: (point.x, point.y) for point in scatter.points}
    line = [tuple(map(float, pair.split(","))) for pair in scatter.front.split()]
    corner = dots["b"][0], dots["a"][1]  # as good as a, until there is time for b
    assert line == [pytest.approx(p, abs=0.06) for p in (dots["a"], corner, dots["b"])]
    assert draw_tradeoff([Dot("a", "a", 1, 0.5)]).front == ""


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1000), min_size=1, max_size=6))
def test_parts_of_a_whole(parts):
    bars = stack_bars(parts)
    if sum(parts.values()) == 0:
        assert bars == []
        return
    assert sum(bar.width for bar in bars) == pytest.approx(100)
    for one, following in itertools.pairwise(bars):
        assert following.x == pytest.approx(one.x + one.width)


def test_errors_in_levels_go_beyond_1():
    scatter = draw_tradeoff([Dot("a", "a", 1, 29.5), Dot("b", "b", 2, 31.0)])
    assert scatter.upward[0].label == "29.5"
    assert all(0 < point.y < 400 for point in scatter.points)
    shares = draw_tradeoff([Dot("a", "a", 1, 0.9), Dot("b", "b", 2, 1.0)])
    assert max(float(tick.label) for tick in shares.upward) <= 1
