"""Prints a review, or its results, on the command line."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.compare.comparable_runs import ComparableRuns
from bgexp.config.command_line import write_command
from bgexp.config.review import ReviewSettings
from bgexp.metrics.bradley_terry import compute_bradley_terry
from bgexp.metrics.win_rate import (
    LEAST,
    SelfAgreement,
    Vote,
    WinRate,
    compute_self_agreement,
    compute_win_rate,
)
from bgexp.report.wording import format_count
from bgexp.system.terminal import make_printable
from bgexp.tracking.votes import PAGE, Review


def show_made(
    review: Review, comparable: ComparableRuns, folder: Path, settings: ReviewSettings
) -> None:
    """Print what is on the page, where it is, and how to bring the votes back."""
    repeats = sum(pair.repeat for pair in review.pairs)
    images = len({pair.image for pair in review.pairs})
    contents = (
        f"{format_count(len(review.pairs) - repeats, 'pair')} of {format_count(images, 'image')}, "
    )
    contents += f"{format_count(len(review.runs), 'variant')}; {repeats} shown again"
    _print_lines([*comparable.left_out, *filter(None, [comparable.reduced]), contents])
    _print_lines([f"Open:    {folder / PAGE}"])
    command = write_command("review", ["votes=FILE"], settings)
    _print_lines([f"Then:    {command}   with the file that the page saves"])


def show_votes(votes: Sequence[Vote], review: Review) -> None:
    """Print win rates with intervals, what is undecided, and how consistent the judges are."""
    judges = len({vote.judge for vote in votes})
    _print_lines(
        [f"{format_count(len(votes), 'vote')} by {format_count(judges, 'judge')} on these runs"]
    )
    if len(review.runs) > 2:
        _show_scores(votes, review)
    _print_lines(
        describe_win_rate(compute_win_rate(votes, *pair), *_name_runs(pair, review))
        for pair in _pair_runs(review)
    )
    _print_lines([describe_self_agreement(compute_self_agreement(votes))])


def describe_win_rate(rate: WinRate, first: str, second: str) -> str:
    """Describe a win rate in words, with the number of votes that would decide it."""
    bad_text = f", both bad {rate.n_both_bad}" if rate.n_both_bad else ""
    if not rate.n:
        return f"{first} and {second}: no vote prefers one{bad_text}"
    message = f"{first} preferred to {second} in {_format_percent(rate.rate)} of "
    message += (
        f"{format_count(rate.n, 'vote')} (95 % interval {_format_interval(rate.low, rate.high)}; "
    )
    message += f"{rate.wins} won, {format_count(rate.ties, 'tie')}, {rate.losses} lost{bad_text}): "
    if rate.decided:
        return f"{message}{'preferred' if rate.low > 0.5 else 'not preferred'}"
    if rate.more_votes is None:
        return f"{message}undecided, {'too few votes' if rate.n < LEAST else 'practically even'}"
    return f"{message}undecided; about {format_count(rate.more_votes, 'more vote')} would decide"


def describe_self_agreement(agreement: SelfAgreement) -> str:
    """Describe how consistent the judges are, in words."""
    if not agreement.n:
        return "No repeated pair was judged: how steady the judge is, is not known"
    message = f"Repeated pairs judged alike: {agreement.n_alike} of {agreement.n}"
    return f"{message} (95 % interval {_format_interval(agreement.low, agreement.high)})"


def _pair_runs(review: Review) -> Iterable[tuple[str, str]]:
    return combinations(review.runs, 2)


def _name_runs(pair: tuple[str, str], review: Review) -> tuple[str, str]:
    return review.runs[pair[0]], review.runs[pair[1]]


def _show_scores(votes: Sequence[Vote], review: Review) -> None:
    table = Table(box=SIMPLE_HEAD)
    for name in ("variant", "votes", "preferred", "95 % interval"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    scores = sorted(
        compute_bradley_terry(votes, list(review.runs)), key=lambda s: -s.rate if s.n else 1
    )
    for score in scores:
        rate, interval = _format_percent(score.rate), _format_interval(score.low, score.high)
        cells = (
            make_printable(review.runs[score.run_id]),
            str(score.n),
            *((rate, interval) if score.n else ()),
        )
        table.add_row(*(Text(cell) for cell in cells))
    Console(highlight=False).print(table)


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _format_interval(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _print_lines(lines: Iterable[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(make_printable(line)))
