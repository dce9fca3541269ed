"""Many values of many things as lines through parallel axes. Pure; units of a viewBox.

Inselberg, "The plane with parallel coordinates", The Visual Computer 1985.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

from bgexp.report.charts import Point, Tick

BETWEEN = 124  # two axes
_MARGIN = 56  # left and right
TOP, FLOOR, HIGH = 52, 272, 284
_MOST_TICKS = 8  # different numbers that are all written


@dataclass(frozen=True)
class Axis:
    """A value a thing: numbers (NaN: no line there), or words, which stand evenly.

    Attributes:
        name: Its heading.
        values: All numbers or all words.
        is_falling: Whether low numbers stand above.
        digits: Decimals of its ticks; None: as many as are needed.
    """

    name: str
    values: Sequence[float] | Sequence[str]
    is_falling: bool = False
    digits: int | None = None


@dataclass(frozen=True)
class Trace:
    """A line: its tooltip, its class of page.css, and where it leads to."""

    label: str
    kind: str = ""
    target: str = ""


@dataclass(frozen=True)
class DrawnAxis:
    """An axis: its place, the lines of its heading, and its ticks."""

    x: float
    heading: Sequence[str]
    ticks: Sequence[Tick]


@dataclass(frozen=True)
class ParallelCoordinates:
    """Axes and a polyline a trace, (its points, the trace)."""

    axes: Sequence[DrawnAxis]
    lines: Sequence[tuple[str, Trace]]
    width: float


def draw_parallel_coordinates(
    axes: Sequence[Axis], traces: Sequence[Trace]
) -> ParallelCoordinates | None:
    """Draw a line a trace through all axes, later ones above; None with fewer than two of either.

    Args:
        axes: Each with a value for every trace.
        traces: In the order in which they are drawn.
    """
    if len(axes) < 2 or len(traces) < 2:
        return None
    drawn, heights = [], []
    for n, axis in enumerate(axes):
        places, ticks = _place_values(axis)
        drawn.append(DrawnAxis(_MARGIN + n * BETWEEN, wrap(axis.name, 14)[:3], ticks))
        heights.append(places)
    lines = []
    for place, trace in enumerate(traces):
        points = [Point(axis.x, ys[place], "") for axis, ys in zip(drawn, heights, strict=True)]
        text = " ".join(f"{p.x:.0f},{p.y:.1f}" for p in points if not math.isnan(p.y))
        lines.append((text, trace))
    return ParallelCoordinates(drawn, lines, 2 * _MARGIN + (len(axes) - 1) * BETWEEN)


def _place_values(axis: Axis) -> tuple[list[float], list[Tick]]:
    """Return the height of each value, and the ticks."""
    words = [value for value in axis.values if isinstance(value, str)]
    if words:
        names = list(dict.fromkeys(words))
        steps = {name: _place(n, 0, len(names) - 1) for n, name in enumerate(names)}
        return [steps[name] for name in words], [Tick(y, name) for name, y in steps.items()]
    numbers = [float(value) for value in axis.values]
    known = sorted({number for number in numbers if not math.isnan(number)})
    if not known:
        return [math.nan] * len(numbers), []
    low, high = known[0], known[-1]
    if axis.is_falling:
        low, high = high, low
    shown = known if len(known) <= _MOST_TICKS and axis.digits is None else [known[0], known[-1]]
    ticks: list[Tick] = []
    for number in dict.fromkeys(shown):
        y = _place(number, low, high)
        if all(abs(y - tick.at) >= 15 for tick in ticks):  # texts do not touch
            ticks.append(
                Tick(y, f"{number:g}" if axis.digits is None else f"{number:.{axis.digits}f}")
            )
    return [_place(number, low, high) for number in numbers], ticks


def _place(value: float, low: float, high: float) -> float:
    share = 0.5 if low == high else (value - low) / (high - low)
    return FLOOR - share * (FLOOR - TOP)
