"""What `bgexp compare` prints: two tables and where to look, or one JSON document."""

import math
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.compare.comparison import Comparison, Variant
from bgexp.config.command_line import write_command
from bgexp.config.compare import CompareSettings
from bgexp.report.labels import get_display_name
from bgexp.report.wording import format_signed
from bgexp.sweep.effects import SCORES
from bgexp.system.terminal import make_printable
from bgexp.tracking.run_folder import RunFolder

_WITHOUT_TRUTH = ("coverage", "nothing_found", "confidence")
_SHORT = {"foreground_recall": "fg recall", "background_leakage": "bg leak"}


def show_comparison(comparison: Comparison, folder: Path, settings: CompareSettings) -> None:
    """Print the settings that differ, metrics, paired changes, and where the page is."""
    console = Console(highlight=False)
    console.print(_tabulate_runs(comparison))
    if any(variant.verdict for variant in comparison.variants):
        console.print(_tabulate_paired(comparison))
    if comparison.votes:
        console.print(_tabulate_win_rates(comparison))
    if comparison.reference:
        console.print(_tabulate_agreement(comparison))
    for line in _summarize(comparison, folder, settings):
        # Not cut into lines of the terminal's width: a path is to be copied.
        console.print(Text(make_printable(line)), soft_wrap=True)


def _make_table(title: str) -> Table:
    return Table(
        title=Text(make_printable(title)),
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def _tabulate_runs(comparison: Comparison) -> Table:
    keys = dict.fromkeys((comparison.metric, *SCORES))
    keys = keys if comparison.has_truth else dict.fromkeys(_WITHOUT_TRUTH)
    n = comparison.matched.n
    table = _make_table(f"{len(comparison.variants)} runs on {n:,} image{'s' * (n != 1)}")
    table.add_column("", justify="right")
    table.add_column("run")
    for name in (*(_SHORT.get(key, get_display_name(key)) for key in keys), "s/image", "failed"):
        table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for place, variant in enumerate(comparison.variants):
        means = variant.metrics if comparison.has_truth else variant.checks
        cells = [_format_number(means[key]) for key in keys]
        cells += [_format_number(variant.seconds), str(variant.failed or "-")]
        table.add_row(str(place), _format_label(variant), *cells)
    return table


def _format_label(variant: Variant) -> Text:
    settings = [override.partition("=") for override in variant.run.overrides]
    lines = [f"{key.rpartition('.')[2]}={value}" for key, _, value in settings]
    return Text("\n".join(map(make_printable, [*lines, f"run {variant.run_id[:8]}"])))


def _tabulate_paired(comparison: Comparison) -> Table:
    table = _make_table(f"{get_display_name(comparison.metric)} against {comparison.baseline}")
    for name in ("", "change", "95 % interval", "won", "lost"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for place, variant in enumerate(comparison.variants):
        if (verdict := variant.verdict) is not None:
            change = verdict.change
            interval = f"{format_signed(change.low)} to {format_signed(change.high)}"
            numbers = (format_signed(change.change), interval, str(verdict.won), str(verdict.lost))
            table.add_row(str(place), *numbers, verdict.description)
    return table


def _tabulate_win_rates(comparison: Comparison) -> Table:
    table = _make_table(f"Win rates of {len(comparison.votes):,} votes")
    for name in ("", "preferred", "95 % interval", "votes", "to the baseline", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for place, (_, strength, rate) in enumerate(comparison.preferences):
        overall = (
            _format_percent(strength.rate),
            _format_range(strength.low, strength.high),
            f"{strength.n:,}",
        )
        note = "" if rate.decided or not rate.n else "undecided"
        if note and rate.more_votes:
            note += f" (about {rate.more_votes:,} more votes would decide)"
        table.add_row(
            str(place),
            *overall,
            _format_percent(rate.rate),
            _format_range(rate.low, rate.high),
            note,
        )
    return table


def _format_percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _format_range(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.0%} to {high:.0%}"


def _tabulate_agreement(comparison: Comparison) -> Table:
    table = _make_table(f"Agreement with {comparison.reference}, which is no truth")
    for name in ("", "agreement.iou", "agreement.boundary_iou", "agreement.dice", "images"):
        table.add_column(name, justify="right")
    for place, variant in enumerate(comparison.variants):
        if agreement := variant.agreement:
            means = [_format_number(aggregate.mean) for aggregate in agreement.values()]
            table.add_row(str(place), *means, f"{agreement['iou'].n_scored:,}")
    return table


def _summarize(comparison: Comparison, folder: Path, settings: CompareSettings) -> list[str]:
    matched = comparison.matched
    lines = [f"Images:  {matched.reduced}"] if matched.reduced else []
    lines += [f"Left out: {name}: {reason}" for name, reason in comparison.left_out.items()]
    lines += [f"Caution: {caution}" for caution in comparison.cautions]
    if comparison.cluster:
        lines.append(f"Intervals: the images of a {comparison.cluster} are resampled together")
    if not comparison.has_truth:
        ids = [variant.run_id[:8] for variant in comparison.variants[:4]]
        lines.append("Scores:  none without truth; checks warn, they never choose")
        lines.append(f"Next:    {write_command('review', ids, settings)}   (compare by eye)")
        lines.append(f"         {write_command('select', ids, settings)}   (which images to label)")
    return [*lines, f"Look at: {RunFolder(folder).page}"]


def _format_number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
