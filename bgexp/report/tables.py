"""What several pages show of a summary: cards, intervals, trust in checks, times."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bgexp.metrics.significance import is_trusted
from bgexp.report.charts import Bar, stack_bars
from bgexp.report.render import Cell, Table, make_change_cell, make_number_cell
from bgexp.report.wording import format_count

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Card:
    """A number on top of the page, with lines that explain it."""

    name: str
    value: str
    lines: Sequence[str]
    unit: str = ""


def format_interval(stats: Numbers) -> str:
    """Format the interval of a change, "low to high"; a dash where there is none."""
    return " to ".join(
        dict.fromkeys(make_change_cell(stats.get(key)).text for key in ("low", "high"))
    )


def make_verdict_cell(rho: float, n: int) -> Cell:
    """Return the cell that says whether a check may choose."""
    if math.isnan(rho):
        return Cell("constant: not used for choosing")
    if is_trusted(rho, n):
        return Cell(f"may choose: {'higher' if rho > 0 else 'lower'} is better", strong=True)
    return Cell("not used for choosing")


def describe_trust(names: Sequence[str]) -> str:
    """Say which checks may be trusted."""
    if not names:
        return "No check may be trusted to choose here: none ranks surely enough as IoU does."
    return f"Trusted to choose here: {', '.join(names)}; no other check."


def tabulate_timings(summary: Numbers) -> tuple[Table | None, list[Bar], str]:
    """Return the stages as a table, as a stacked bar, and a sentence."""
    stages = summary.get("timings") or {}
    total = sum(stage["total_s"] for stage in stages.values())
    if not total:
        return None, [], ""
    rows = [
        [
            Cell(name, swatch=f"s-{place % 6}"),
            Cell(f"{100 * stage['total_s'] / total:.1f} %", stage["total_s"] / total),
            *(make_number_cell(stage[key], 1) for key in ("mean_ms", "p50_ms", "p95_ms")),
            make_number_cell(stage["total_s"], 1),
        ]
        for place, (name, stage) in enumerate(stages.items())
    ]
    slowest = max(stages, key=lambda name: stages[name]["total_s"])
    mean_ms = sum(stage["mean_ms"] for stage in stages.values())
    images = format_count(summary["counts"]["ok"], "image")
    share = stages[slowest]["total_s"] / total
    sentence = f"{mean_ms:,.0f} ms an image over {images}; most of it ({share:.0%}) in {slowest}."
    columns = ("stage", "share", "mean ms", "median ms", "p95 ms", "total s")
    bars = stack_bars({name: stage["total_s"] for name, stage in stages.items()})
    return Table("Time by stage", columns, rows), bars, sentence
