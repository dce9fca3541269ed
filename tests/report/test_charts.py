import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.metrics.pareto import find_pareto_front
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


MANY_JOBS = st.lists(st.tuples(st.floats(0.9, 1.1), st.floats(0.8, 0.9)), min_size=24, max_size=24)


def box_of(point):
    """The box of a dot's text, as wide as the widest letters make it."""
    width = 6.6 * len(point.text.label)
    left = point.text.at - (width if point.text.anchor == "end" else 0)
    return left, point.text_y - 11, left + width, point.text_y + 3


def overlap(first, other):
    return not (
        first[2] <= other[0] or other[2] <= first[0] or first[3] <= other[1] or other[3] <= first[1]
    )


@given(JOBS | MANY_JOBS)
def test_jobs_stay_in_the_frame_and_texts_do_not_collide(numbers):
    front = find_pareto_front(numbers)
    best = max(range(len(numbers)), key=lambda n: numbers[n][1])
    jobs = [
        Dot(f"refine=grabcut band={n}", str(n), *pair, "best" if n == best else "", front[n])
        for n, pair in enumerate(numbers)
    ]
    scatter = draw_tradeoff(jobs)
    assert len(scatter.points) == len(jobs)
    assert scatter.points[-1].kind == "best"  # above all others
    texts = [point for point in scatter.points if point.text is not None]
    corners = [tuple(map(float, pair.split(","))) for pair in scatter.front.split()]
    lines = [
        (min(a, c), min(b, d), max(a, c), max(b, d))
        for (a, b), (c, d) in itertools.pairwise(corners)
    ]
    for point in scatter.points:
        assert 0 <= point.x <= WIDE
        assert 0 <= point.y <= HIGH
        dot = (point.x - 5.5, point.y - 5.5, point.x + 5.5, point.y + 5.5)
        assert not any(overlap(box_of(text), dot) for text in texts)
    for text in texts:
        assert not any(overlap(box_of(text), line) for line in lines)
    for first, other in itertools.combinations(texts, 2):
        assert not overlap(box_of(first), box_of(other))
    if len(jobs) > 8:
        names = {jobs[n].name for n in range(len(jobs)) if front[n] or n == best}
        assert {text.label.partition(", ")[2].partition(":")[0] for text in texts} <= names
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
