"""Values over a number, with their intervals, to the geometry of a chart. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bgexp.report.charts import Point, Tick, round_steps

Scale = Callable[[float], float]

WIDE, HIGH = 300, 190  # units of the viewBox
_LEFT, _RIGHT, _ABOVE, _BELOW = 40, 12, 10, 24  # margins
_NAMES = 66  # the right margin where curves have their names there
_LEAST_RANGE = 0.02  # of the values: a smaller difference should look like none
_LOG_RATIO = 50  # of the largest position and the smallest, from where on the axis is logarithmic
_LINE = 14  # between two texts
_MOST_TICKS = 12  # positions that are written; of more, round numbers


@dataclass(frozen=True)
class Curve:
    """Values over positions.

    Attributes:
        positions: Of the dots, rising.
        values: Their heights; NaN is left out.
        low, high: The ends of each value's interval; empty, or NaN, for none.
        name: Written at its right end; empty for none.
        kind: Classes of page.css.
        is_joined: Whether a line joins the dots.
    """

    positions: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    name: str = ""
    kind: str = ""
    is_joined: bool = True


@dataclass(frozen=True)
class Line:
    """A curve as SVG has it: the points of a polyline and of the polygon of its intervals."""

    points: str
    band: str
    dots: Sequence[Point]
    kind: str
    name: str = ""
    name_y: float = 0.0


@dataclass(frozen=True)
class CurveChart:
    """Curves on two axes; `level` is the height of a horizontal line, `mark` a vertical's place."""

    lines: Sequence[Line] = field(default_factory=list)
    across: Sequence[Tick] = field(default_factory=list)
    upward: Sequence[Tick] = field(default_factory=list)
    right: float = WIDE - _RIGHT
    level: float | None = None
    mark: float | None = None


def draw_curves(
    curves: Sequence[Curve], level: float | None = None, mark: float | None = None
) -> CurveChart:
    """Draw curves in one chart, which shows all of their intervals.

    Args:
        curves: In the order in which they are drawn; not empty.
        level: A value to draw a horizontal line at.
        mark: A position to draw a vertical line at.
    """
    right = WIDE - (_NAMES if any(curve.name for curve in curves) else _RIGHT)
    marks = () if mark is None else (mark,)
    positions = sorted({x for curve in curves for x in curve.positions}.union(marks))
    values = [y for curve in curves for y in (*curve.values, *curve.low, *curve.high)]
    values = [y for y in values if not math.isnan(y)]
    if not values:
        return CurveChart()
    middle = (min(values) + max(values)) / 2
    half = max(0.55 * (max(values) - min(values)), _LEAST_RANGE / 2)
    low, high = middle - half, middle + half
    place_x = _scale_positions(positions, right)

    def place_y(y: float) -> float:
        return HIGH - _BELOW - (y - low) / (high - low) * (HIGH - _BELOW - _ABOVE)

    return CurveChart(
        _spread_names([_draw_curve(curve, place_x, place_y) for curve in curves]),
        _choose_ticks(positions, place_x),
        [Tick(place_y(y), f"{y:g}") for y in round_steps(low, high)],
        right,
        None if level is None else place_y(level),
        None if mark is None else place_x(mark),
    )


def _scale_positions(positions: Sequence[float], right: float) -> Scale:
    """Return the place of a position between the axis and the right end, logarithmic if so wide."""
    first, last = positions[0], positions[-1]
    if first == last:
        return lambda _: (_LEFT + right) / 2
    is_log = first > 0 and last / first >= _LOG_RATIO
    bend: Scale = math.log if is_log else float
    start, length = bend(first), bend(last) - bend(first)
    return lambda x: _LEFT + 8 + (bend(x) - start) / length * (right - _LEFT - 16)


def _draw_curve(curve: Curve, place_x: Scale, place_y: Scale) -> Line:
    bounds = [
        (curve.low[n], curve.high[n]) if curve.low else (math.nan, math.nan)
        for n in range(len(curve.values))
    ]
    dots, upper, lower = [], [], []
    for x, y, (bottom, top) in zip(curve.positions, curve.values, bounds, strict=True):
        if math.isnan(y):
            continue
        label = f"{x:g}: {y:.3f}"
        if not math.isnan(bottom):
            label += f" ({bottom:.3f} to {top:.3f})"
            upper.append((place_x(x), place_y(top)))
            lower.append((place_x(x), place_y(bottom)))
        dots.append(Point(place_x(x), place_y(y), label))
    points = _join([(dot.x, dot.y) for dot in dots]) if curve.is_joined else ""
    end = dots[-1].y + 4 if dots else 0.0
    return Line(points, _join(upper + lower[::-1]), dots, curve.kind, curve.name, end)


def _join(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _choose_ticks(positions: Sequence[float], place_x: Scale) -> list[Tick]:
    """Return a tick a position, without those whose texts would touch the ones before.

    Of many positions, round numbers.
    """
    if len(positions) > _MOST_TICKS:
        positions = round_steps(positions[0], positions[-1])
    ticks, end = [], -math.inf
    for x in positions:
        at, label = place_x(x), f"{x:g}"
        half = 3.5 * len(label)
        if at - half > end + 4:
            ticks.append(Tick(at, label))
            end = at + half
    return ticks


def _spread_names(lines: Sequence[Line]) -> list[Line]:
    """Move names apart that would touch, downwards or, at the floor, upwards."""
    named = sorted((line for line in lines if line.name), key=lambda line: line.name_y)
    heights = [line.name_y for line in named]
    for n in range(1, len(heights)):
        heights[n] = max(heights[n], heights[n - 1] + _LINE)
    for n in reversed(range(len(heights))):
        limit = heights[n + 1] - _LINE if n + 1 < len(heights) else HIGH - _BELOW
        heights[n] = min(heights[n], limit)
    moved = {id(line): height for line, height in zip(named, heights, strict=True)}
    return [replace(line, name_y=moved.get(id(line), 0.0)) for line in lines]
