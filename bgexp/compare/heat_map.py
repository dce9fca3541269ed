"""Changes by category as a map of colours, readable on a narrow screen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bgexp.compare.comparison import Comparison
from bgexp.metrics.performance import LOWER_IS_BETTER

MAX_CATEGORIES = 30
_STEPS = (0.005, 0.02, 0.05, 0.1)  # of a change, from where on a colour is the next stronger one


@dataclass(frozen=True)
class HeatCell:
    """A change, its text, and its colour: a class of page.css; empty for none."""

    value: float
    text: str
    tone: str


@dataclass(frozen=True)
class HeatMap:
    """A row a category: its name, its number of images and a change a variant.

    Attributes:
        columns: The variants' numbers.
        rows: The categories that differ most.
        n_hidden: The number of categories that are not shown.
    """

    columns: Sequence[str]
    rows: Sequence[tuple[str, int, Sequence[HeatCell]]]
    n_hidden: int


def build_heat_map(comparison: Comparison) -> HeatMap | None:
    """Map the change of each category; None where there is only one, or nothing to compare."""
    table = comparison.by_category
    if len(table) < 2 or not comparison.has_truth or len(comparison.variants) < 2:
        return None
    places = {run.name: str(place) for place, run in enumerate(comparison.runs)}
    lower = comparison.metric in LOWER_IS_BETTER
    rows = [
        (
            str(name),
            int(row["images"]),
            [_format_cell(row[key], lower) for key in table.columns[1:]],
        )
        for name, row in table.head(MAX_CATEGORIES).iterrows()
    ]
    columns = [places[str(key)] for key in table.columns[1:]]
    return HeatMap(columns, rows, len(table) - len(rows))


def _format_cell(value: float, lower: bool) -> HeatCell:
    """Format a change with two decimals: a narrow screen has to hold all variants."""
    if math.isnan(value):
        return HeatCell(value, "\u2013", "")
    strength = sum(abs(value) >= step for step in _STEPS)
    text = f"{value:+.2f}".replace("-", "\u2212") if strength else "0"
    kind = "better" if (value > 0) != lower else "worse"
    return HeatCell(value, text, f"{kind}-{strength}" if strength else "")
