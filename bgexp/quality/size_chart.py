"""The distribution of a size, with the bounds of outliers, as the geometry of a chart. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

from bgexp.report.charts import FLOOR, TOP, WIDTH, Bar, Histogram, Tick


def plot_sizes(
    title: str, values: NDArray[np.float64], low: float, high: float, unit: str = ""
) -> Histogram:
    """Count sizes in bins of a logarithmic axis, and mark the bounds of outliers.

    Args:
        title: The name of the values.
        values: (N,) positive float.
        low: The lower bound; of one far outside the values an arrow says where it is.
        high: The upper bound.
        unit: The unit of the values.
    """
    values = values[~np.isnan(values) & (values > 0)]
    if not len(values):
        return Histogram(title, [], [], [], 0)
    # The bounds are in the picture where they are within a factor of the values.
    bounds = [value for value in (low, high) if values.min() / 3 <= value <= values.max() * 3]
    start, end = (min([values.min(), *bounds]) / 1.05, max([values.max(), *bounds]) * 1.05)
    bins = 40

    def place(value: float) -> float:
        share = math.log(min(max(value, start), end) / start) / math.log(end / start)
        return share * WIDTH

    counts, edges = np.histogram(np.log(values), bins, (math.log(start), math.log(end)))
    # A root: the few outliers beside thousands of others would be no pixel high.
    scale = (FLOOR - TOP) / math.sqrt(max(1, counts.max()))
    bars = [
        Bar(
            place(math.exp(left)) + 0.5,
            FLOOR - math.sqrt(n) * scale,
            WIDTH / bins - 1,
            math.sqrt(n) * scale,
            f"{_format_size(math.exp(left))} to {_format_size(math.exp(right))} {unit}: {n:,}",
        )
        for left, right, n in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        if n
    ]
    middle = math.sqrt(start * end)
    ticks = [Tick(0, _format_size(start), "start"), Tick(WIDTH / 2, _format_size(middle))]
    ticks.append(Tick(WIDTH, _format_size(end), "end"))
    named_bounds = {"lower bound": low, "upper bound": high}
    marks = [
        Tick(place(value), _add_arrow(f"{name} {_format_size(value)}", value < start, value > end))
        for name, value in named_bounds.items()
        if math.isfinite(value)
    ]
    return Histogram(title, bars, ticks, marks, len(values))


def _add_arrow(text: str, left: bool, right: bool) -> str:
    """Add an arrow to where the value is, if that is beyond an end of the axis."""
    return f"\u2190 {text}" if left else f"{text} \u2192" if right else text


def _format_size(value: float) -> str:
    """Format a size in few characters.

    >>> _format_size(0.75), _format_size(1536), _format_size(2_400_000)
    ('0.75', '1,536', '2.4M')
    """
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
