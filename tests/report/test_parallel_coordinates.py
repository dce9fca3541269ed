import math

import pytest

from bgexp.report.parallel_coordinates import (
    FLOOR,
    TOP,
    Axis,
    Trace,
    draw_parallel_coordinates,
)

TRACES = [Trace("a"), Trace("b", "best", "job-1"), Trace("c")]


def test_three_jobs_by_hand():
    axes = [
        Axis("threshold", [0.3, 0.5, 0.7]),
        Axis("refine", ["none", "unet", "none"]),
        Axis("IoU", [0.8, 0.9, math.nan], digits=3),
        Axis("Background leakage", [0.2, 0.1, 0.1], is_falling=True, digits=2),
    ]
    chart = draw_parallel_coordinates(axes, TRACES)
    heights = [[float(pair.split(",")[1]) for pair in text.split()] for text, _ in chart.lines]
    assert heights == [
        [FLOOR, FLOOR, FLOOR, FLOOR],
        [(FLOOR + TOP) / 2, TOP, TOP, TOP],  # little leakage is above
        [TOP, FLOOR, TOP],  # no IoU
    ]
    assert [trace for _, trace in chart.lines] == TRACES
    ticks = [[(tick.label, round(tick.at)) for tick in axis.ticks] for axis in chart.axes]
    assert ticks == [
        [("0.3", FLOOR), ("0.5", (FLOOR + TOP) // 2), ("0.7", TOP)],
        [("none", FLOOR), ("unet", TOP)],
        [("0.800", FLOOR), ("0.900", TOP)],
        [("0.10", TOP), ("0.20", FLOOR)],
    ]
    assert chart.axes[3].heading == ["Background", "leakage"]


def test_what_is_the_same_everywhere_stands_in_the_middle():
    chart = draw_parallel_coordinates([Axis("a", [1, 1, 1]), Axis("b", ["x"] * 3)], TRACES)
    assert {pair.split(",")[1] for text, _ in chart.lines for pair in text.split()} == {
        f"{(FLOOR + TOP) / 2:.1f}"
    }


def test_ticks_do_not_touch():
    values = [0.1, 0.1001, 0.9]
    chart = draw_parallel_coordinates([Axis("a", values), Axis("b", values)], TRACES)
    assert [tick.label for tick in chart.axes[0].ticks] == ["0.1", "0.9"]


@pytest.mark.parametrize(("axes", "traces"), [([Axis("a", [1, 2])], 2), ([Axis("a", [1])] * 2, 1)])
def test_too_little_for_a_chart(axes, traces):
    assert draw_parallel_coordinates(axes, TRACES[:traces]) is None
