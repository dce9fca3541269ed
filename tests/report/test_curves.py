import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.report.curves import HIGH, WIDE, Curve, draw_curves


def read_points(text):
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_a_curve_by_hand():
    chart = draw_curves(
        [Curve([0, 1, 2], [0.2, 0.4, 0.3], [0.1, 0.4, 0.2], [0.3, 0.4, 0.5])], 0.4, 2
    )
    [line] = chart.lines
    (a, low), (b, top), (c, middle) = read_points(line.points)
    assert b - a == pytest.approx(c - b)
    assert top < middle < low  # up is more
    assert chart.level == pytest.approx(top, abs=0.06)
    assert chart.mark == pytest.approx(c, abs=0.06)
    band = read_points(line.band)
    assert [x for x, _ in band] == [a, b, c, c, b, a]  # there and back
    assert [dot.label for dot in line.dots] == [
        "0: 0.200 (0.100 to 0.300)",
        "1: 0.400 (0.400 to 0.400)",
        "2: 0.300 (0.200 to 0.500)",
    ]
    assert [tick.label for tick in chart.across] == ["0", "1", "2"]


def test_wide_ranges_are_logarithmic():
    xs = [dot.x for dot in draw_curves([Curve([0.001, 0.01, 0.1], [1, 2, 3])]).lines[0].dots]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])


def test_values_without_order_and_without_intervals():
    [line] = draw_curves([Curve([1, 2, 3], [0.1, math.nan, 0.3], is_joined=False)]).lines
    assert (line.points, line.band, len(line.dots)) == ("", "", 2)
    assert draw_curves([Curve([1], [math.nan])]).lines == []


def test_a_tiny_difference_looks_like_none():
    dots = draw_curves([Curve([1, 2], [0.5000, 0.5001])]).lines[0].dots
    assert abs(dots[0].y - dots[1].y) < 2


VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


@given(st.lists(VALUES, min_size=1, max_size=5), st.sampled_from([1, 0.05, 1000]))
def test_all_stays_in_the_frame_and_texts_do_not_touch(many, step):
    curves = [
        Curve([step * n for n in range(len(values))], values, [v - 0.1 for v in values],
              [v + 0.1 for v in values], name="precision")
        for values in many
    ]  # fmt: skip
    chart = draw_curves(curves)
    for line in chart.lines:
        for x, y in [*read_points(line.points), *read_points(line.band)]:
            assert 40 <= x <= chart.right < WIDE - 7 * len("precision")
            assert 10 <= y <= HIGH - 24
        assert 0 < line.name_y <= HIGH
    heights = sorted(line.name_y for line in chart.lines)
    assert all(b - a >= 13.9 for a, b in itertools.pairwise(heights))
    ends = [
        (tick.at - 3.5 * len(tick.label), tick.at + 3.5 * len(tick.label)) for tick in chart.across
    ]
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
