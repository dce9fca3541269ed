"""Numbers to the geometry of charts, which a template draws as SVG. Pure; units of a viewBox."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

WIDTH, TOP, FLOOR = 300, 10, 110  # of a histogram: its width, and the bars' room
WIDE, HIGH = 460, 300  # of the scatter of jobs
_LEFT, _RIGHT, _ABOVE, _BELOW = 46, 14, 14, 34  # margins of the scatter of jobs
_ALL_NAMED = 8  # jobs in it that all have texts


@dataclass(frozen=True)
class Bar:
    """A rectangle and its label."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Tick:
    """A position on an axis, its label, and the side on which the label stands."""

    at: float
    label: str
    anchor: str = "middle"  # SVG's text-anchor


@dataclass(frozen=True)
class Histogram:
    """Bars, an axis below them, and lines at marked values."""

    title: str
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    marks: Sequence[Tick]
    n: int


@dataclass(frozen=True)
class Point:
    """A dot, its label, where it leads to, and its text with a position, where it has one."""

    x: float
    y: float
    label: str
    kind: str = ""
    text: Tick | None = None
    text_y: float = 0.0
    target: str = ""


@dataclass(frozen=True)
class Scatter:
    """Dots on two axes."""

    points: Sequence[Point]
    across: Sequence[Tick] = field(default_factory=list)
    upward: Sequence[Tick] = field(default_factory=list)
    n: int = 0
    front: str = ""  # the points of an SVG polyline


def draw_histogram(
    title: str, values: NDArray[np.float64], marks: Mapping[str, float], whole: bool = False
) -> Histogram:
    """Count values in bins: shares from 0 to 1 in steps of 0.05, or whole numbers up to 10.

    Args:
        title: The name of the values.
        values: (N,) float; NaN is left out, numbers over 10 count as 10.
        marks: Values to point out, by name; NaN is left out.
        whole: Whether the values are whole numbers.
    """
    low, high, bins = (-0.5, 10.5, 11) if whole else (0.0, 1.0, 20)

    def place(value: float) -> float:
        return (min(max(value, low), high) - low) / (high - low) * WIDTH

    values = values[~np.isnan(values)]
    counts, edges = np.histogram(np.clip(values, 0, 10 if whole else 1), bins, (low, high))
    scale = (FLOOR - TOP) / max(1, counts.max())
    bars = [
        Bar(
            place(left) + 1,
            FLOOR - n * scale,
            WIDTH / bins - 2,
            n * scale,
            _format_bin(left, n, whole),
        )
        for left, n in zip(edges[:-1].tolist(), counts.tolist(), strict=True)
        if n
    ]
    ticks = [Tick(place(0), "0", "start"), Tick(place(0.5), "0.5"), Tick(place(1), "1", "end")]
    if whole:
        ticks = [Tick(place(0), "0"), Tick(place(5), "5"), Tick(place(10), "10+")]
    mark_ticks = [
        Tick(place(value), f"{name} {value:.2f}")
        for name, value in marks.items()
        if not math.isnan(value)
    ]
    return Histogram(title, bars, ticks, mark_ticks, len(values))


def _format_bin(left: float, count: int, whole: bool) -> str:
    if whole:
        number = round(left + 0.5)
        return f"{number}{' or more' if number == 10 else ''}: {count:,}"
    return f"{left:.2f} to {left + 0.05:.2f}: {count:,}"


@dataclass(frozen=True)
class Dot:
    """A job in a scatter: its name, its number in the table, and a CSS class (kind).

    Attributes:
        on_front: Whether it is on the Pareto front, which a line joins.
        target: The place on the page that it leads to; empty for none.
    """

    name: str
    number: str
    seconds: float
    score: float
    kind: str = ""
    on_front: bool = False
    target: str = ""


def draw_tradeoff(jobs: Sequence[Dot]) -> Scatter:
    """Scatter quality over seconds an image, a dot a job; NaN is left out.

    A dot has its name where that hits nothing, else its number, else no text. Of many jobs only
    those on the front, and those of a kind, have texts.
    """
    jobs = [job for job in jobs if not math.isnan(job.seconds + job.score)]
    if not jobs:
        return Scatter([])
    slowest, scores = 1.1 * max(job.seconds for job in jobs), [job.score for job in jobs]
    room = max(0.02, 0.15 * (max(scores) - min(scores)))
    # A share ends at 1; errors in levels or in thousands of pixels go on.
    limit = 1.0 if max(scores) <= 1 else math.inf
    low, high = max(0.0, min(scores) - room), min(limit, max(scores) + room)
    right, floor = WIDE - _RIGHT, HIGH - _BELOW

    def place_x(seconds: float) -> float:
        return _LEFT + seconds / slowest * (right - _LEFT)

    def place_y(score: float) -> float:
        return floor - (score - low) / (high - low) * (floor - _ABOVE)

    # The most important ones are drawn above the rest, and get their texts first.
    jobs.sort(key=lambda job: (job.kind == "best", job.on_front))
    dots = [(place_x(job.seconds), place_y(job.score)) for job in jobs]
    front = _draw_staircase([dot for job, dot in zip(jobs, dots, strict=True) if job.on_front])
    boxes = [(x - 7, y - 7, x + 7, y + 7) for x, y in dots]
    boxes += [(min(a, c), min(b, d), max(a, c), max(b, d)) for (a, b), (c, d) in pairwise(front)]
    points = []
    for job, (x, y) in list(zip(jobs, dots, strict=True))[::-1]:
        is_named = len(jobs) <= _ALL_NAMED or job.on_front or job.kind
        names = (job.name, job.number) if is_named else ()
        text, text_y = _place(names, x, y, boxes)
        label = f"{job.number}, {job.name}: {job.score:.3f} at {job.seconds:.3g} s an image"
        points.append(Point(x, y, label, job.kind, text, text_y, job.target))
    return Scatter(
        points[::-1],
        [Tick(place_x(value), f"{value:g}") for value in round_steps(0, slowest)],
        [Tick(place_y(value), f"{value:g}") for value in round_steps(low, high)],
        len(jobs),
        " ".join(f"{x:.1f},{y:.1f}" for x, y in front),
    )


def _draw_staircase(dots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of a line of steps: between two dots, the left one is what can be had."""
    path: list[tuple[float, float]] = []
    for x, y in sorted(dots):
        path += [(x, path[-1][1])] if path else []
        path.append((x, y))
    return path


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _place(names: Sequence[str], x: float, y: float, boxes: list[Box]) -> tuple[Tick | None, float]:
    """Return the first name that fits beside a dot, and its place; its room is added to `boxes`."""
    for name, dy, dx in product(names, (0, -16, 16, -32, 32), (10, -10)):
        width = 6.6 * len(name)  # of 12 px text, a wide estimate
        left = x + dx - (width if dx < 0 else 0)
        box = (left, y + dy - 7, left + width, y + dy + 7)
        inside = left > _LEFT and box[2] < WIDE and box[1] > 0 and box[3] < HIGH - _BELOW
        if inside and not any(_is_overlapping(box, neighbour) for neighbour in boxes):
            boxes.append(box)
            return Tick(x + dx, name, "start" if dx > 0 else "end"), y + dy + 4
    return None, 0.0


def _is_overlapping(a: Box, b: Box) -> bool:
    apart = a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    return not apart


def round_steps(low: float, high: float) -> list[float]:
    """Return about five round numbers between two bounds."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [round(n * step, 10) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def stack_bars(parts: Mapping[str, float]) -> list[Bar]:
    """Stack the parts of a whole side by side, in percent of the width; [] where all are 0."""
    total, bars, x = sum(parts.values()), [], 0.0
    for name, part in parts.items():
        if total > 0:
            width = 100 * part / total
            bars.append(Bar(x, 0, width, 10, f"{name}: {width:.1f} %"))
            x += width
    return bars
