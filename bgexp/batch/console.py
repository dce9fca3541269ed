"""What a batch prints: its plan, and how it ended."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.batch.artifacts import PAGE
from bgexp.batch.command import BatchResult
from bgexp.batch.planned import PlannedFile
from bgexp.config.batch import BatchSettings
from bgexp.report.tables import pace
from bgexp.system.terminal import printable


def show_plan(planned: Sequence[PlannedFile]) -> None:
    """A line a file: where its result would go, or why there would be none."""
    console = Console(highlight=False, soft_wrap=True)
    for one in planned:
        told = f"skipped: {one.reason}" if one.reason else one.output
        issues = f"  ({', '.join(one.issues)})" if one.issues else ""
        console.print(Text(f"{printable(one.path)} -> {printable(told)}{issues}"))
    kinds = Counter(one.kind or "skipped" for one in planned)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    console.print(Text(f"{len(planned):,} files: {counts}. Nothing was written."))


def show_batch(result: BatchResult, settings: BatchSettings) -> None:
    """The counts, the flags, and where to look next."""
    console = Console(highlight=False, soft_wrap=True)
    counts = result.summary["counts"]
    table = Table(box=SIMPLE_HEAD)
    for name in ("files", "done", "regular", "outliers", "failed", "skipped", "corrupt", "flagged"):
        table.add_column(name, justify="right")
    row = (counts["total"], *(counts[c.header] for c in table.columns[1:]))
    table.add_row(*(f"{count:,}" for count in row))
    console.print(table)
    speed, seconds = result.summary["images_per_s"], result.summary["seconds"]
    took = "" if math.isnan(speed) else f"{speed:.2f} images/s, {seconds:.0f} s"
    there = result.summary["reused"]
    known = f"{there:,} of the results were there already, whole" if there else ""
    console.print("; ".join(filter(None, [took, known])) or "Nothing was done")
    if told := pace(result.summary):
        console.print(f"Network: {told[0]}; {told[1]}")
    if flags := result.summary["flags"]:
        console.print("Flags:   " + ", ".join(f"{name} {n:,}" for name, n in flags.items()))
    output = Path(settings.output)
    console.print(Text(f"Results: {printable(output)}"))
    console.print(Text(f"Look at: {printable(output / PAGE)}"))
    if result.summary["status"] == "failed":
        share = counts["failed"] / max(1, counts["failed"] + counts["done"])
        line = f"{counts['failed']:,} failed ({share:.1%}), more than max_failed allows"
        console.print(f"{line} ({settings.max_failed:.1%})")
