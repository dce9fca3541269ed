"""Changes with their intervals to the geometry of a forest plot. Pure; units of a viewBox."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bgexp.report.charts import Tick, round_steps

WIDE = 460
_ROW = 38  # a name above, its line below
_MARGIN = 12  # on both sides
_BELOW = 40  # for the axis


@dataclass(frozen=True)
class Interval:
    """A change with its interval, and the variant's name.

    Attributes:
        name: Written above the line.
        change: The position of the dot.
        low, high: The ends of the line; NaN for no line.
        kind: A class of page.css for the dot: better, worse or empty.
        label: The tooltip.
    """

    name: str
    change: float
    low: float
    high: float
    kind: str
    label: str


@dataclass(frozen=True)
class ForestRow:
    """A row of the plot."""

    y: float
    dot: float
    line: tuple[float, float] | None
    name: str
    kind: str
    label: str


@dataclass(frozen=True)
class Forest:
    """Rows, an axis below them, and the line of no change."""

    rows: Sequence[ForestRow] = field(default_factory=list)
    ticks: Sequence[Tick] = field(default_factory=list)
    zero: float = 0.0
    floor: float = 0.0
    height: float = 0.0


def lay_out_forest(intervals: Sequence[Interval]) -> Forest:
    """Lay out a row an interval on one axis, which always has 0; undefined changes are left out.

    >>> [(row.dot, row.line) for row in lay_out_forest([Interval("a", 0.5, 0, 1, "", "")]).rows]
    [(230.0, (12.0, 448.0))]
    """
    defined = [interval for interval in intervals if not math.isnan(interval.change)]
    if not defined:
        return Forest()
    bounds = [bound for row in defined for bound in (row.low, row.change, row.high)]
    values = [bound for bound in bounds if not math.isnan(bound)]
    low, high = min(0.0, *values), max(0.0, *values)
    if low == high:
        low, high = -0.01, 0.01

    def place(value: float) -> float:
        return _MARGIN + (value - low) / (high - low) * (WIDE - 2 * _MARGIN)

    rows = []
    for number, interval in enumerate(defined):
        line = None if math.isnan(interval.low) else (place(interval.low), place(interval.high))
        y = number * _ROW + 28.0
        dot = place(interval.change)
        rows.append(ForestRow(y, dot, line, interval.name, interval.kind, interval.label))
    floor = len(defined) * _ROW + 4.0
    ticks = [
        Tick(place(value), f"{value:+g}" if value else "0") for value in round_steps(low, high)
    ]
    return Forest(rows, ticks, place(0), floor, floor + _BELOW)
