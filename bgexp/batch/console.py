"""What a batch prints: its plan, and how it ended."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.batch.command import BatchResult
from bgexp.batch.dispatch import PartsWork
from bgexp.batch.findings import describe_pace
from bgexp.batch.planned_file import PlannedFile, judge_reason
from bgexp.config.batch import BatchSettings, PartShare
from bgexp.system.listing import describe_passed_over
from bgexp.system.terminal import make_printable
from bgexp.tracking.run_folder import PAGE


def build_document(result: BatchResult) -> dict[str, Any]:
    """Return what became of a batch, a share of one or a dry run, as `--json` prints it."""
    if result.work is not None:
        return {"newly_done": result.work.newly_done, "failed": result.work.failed}
    planned = [
        {"path": file.path, "output": file.output, "reason": file.reason} for file in result.planned
    ]
    return dict(result.summary) or {"planned": planned}


def show_plan(planned: Sequence[PlannedFile]) -> None:
    """Print a line per file: where its result would go, or why there would be none."""
    console = Console(highlight=False, soft_wrap=True)
    for file in planned:
        outcome = f"{judge_reason(file.reason)}: {file.reason}" if file.reason else file.output
        issues = f"  ({', '.join(file.issues)})" if file.issues else ""
        console.print(Text(f"{make_printable(file.path)} -> {make_printable(outcome)}{issues}"))
    kinds = Counter(file.kind or judge_reason(file.reason) for file in planned)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    console.print(Text(f"{len(planned):,} files: {counts}. Nothing was written."))


def show_share(work: PartsWork, part: PartShare) -> None:
    """Print what was done of a share, and how the batch is closed."""
    failed = f", {work.failed:,} failed" if work.failed else ""
    print(f"part {part.number} of {part.of}: {work.newly_done:,} newly done{failed}")
    print("Once all parts are done, the same command with part=unite closes the batch.")


def show_batch(result: BatchResult, settings: BatchSettings) -> None:
    """Print the counts, the flags, and where to look next."""
    console = Console(highlight=False, soft_wrap=True)
    counts = result.summary["counts"]
    table = Table(box=SIMPLE_HEAD)
    for name in ("files", "done", "regular", "outliers", "failed", "skipped", "corrupt", "flagged"):
        table.add_column(name, justify="right")
    row = (counts["total"], *(counts[column.header] for column in table.columns[1:]))
    table.add_row(*(f"{count:,}" for count in row))
    console.print(table)
    speed, seconds = result.summary["images_per_s"], result.summary["seconds"]
    speed_text = "" if math.isnan(speed) else f"{speed:.2f} images/s, {seconds:.0f} s"
    reused = result.summary["reused"]
    reused_text = f"{reused:,} of the results were there already, whole" if reused else ""
    console.print("; ".join(filter(None, [speed_text, reused_text])) or "Nothing was done")
    if network_pace := describe_pace(result.summary):
        console.print(f"Network: {network_pace[0]}; {network_pace[1]}")
    if flags := result.summary["flags"]:
        console.print("Flags:   " + ", ".join(f"{name} {count:,}" for name, count in flags.items()))
    if skipped := result.summary["skipped"]:
        console.print(Text(f"Skipped: {describe_passed_over(skipped, 'follow_links')}"))
    output = settings.output
    console.print(Text(f"Results: {make_printable(output)}"))
    console.print(Text(f"Look at: {make_printable(output / PAGE)}"))
    if result.summary["status"] == "failed":
        share = counts["failed"] / max(1, counts["failed"] + counts["done"])
        line = f"{counts['failed']:,} failed ({share:.1%}), more than max_failed allows"
        console.print(f"{line} ({settings.max_failed:.1%})")
