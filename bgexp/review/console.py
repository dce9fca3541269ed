"""What the command line says of a review."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.compare.comparable_runs import ComparableRuns
from bgexp.metrics.bradley_terry import bradley_terry_scores
from bgexp.metrics.win_rate import LEAST, SelfAgreement, Vote, WinRate, self_agreement, win_rate
from bgexp.report.finding import counted
from bgexp.system.terminal import printable
from bgexp.tracking.votes import PAGE, Review


def show_made(review: Review, contenders: ComparableRuns, folder: Path) -> None:
    """What is on the page, where it is, and how the votes come back."""
    repeats = sum(pair.repeat for pair in review.pairs)
    images = len({pair.image for pair in review.pairs})
    said = f"{counted(len(review.pairs) - repeats, 'pair')} of {counted(images, 'image')}, "
    said += f"{counted(len(review.runs), 'variant')}; {repeats} shown again"
    _tell([*contenders.left_out, *filter(None, [contenders.reduced]), said])
    _tell([f"Open:    {folder / PAGE}"])
    _tell(["Then:    bgexp review votes=FILE   with the file that the page saves"])


def show_votes(votes: Sequence[Vote], review: Review) -> None:
    """Win rates with intervals, what is undecided, and how steady the judges are."""
    judges = len({vote.judge for vote in votes})
    _tell([f"{counted(len(votes), 'vote')} by {counted(judges, 'judge')} on these runs"])
    if len(review.runs) > 2:
        _show_strengths(votes, review)
    _tell(
        describe_win_rate(win_rate(votes, *pair), *_names(pair, review))
        for pair in _couples(review)
    )
    _tell([told_steadiness(self_agreement(votes))])


def describe_win_rate(rate: WinRate, name: str, other: str) -> str:
    """A win rate in words, with what would decide it."""
    bad = f", both bad {rate.n_both_bad}" if rate.n_both_bad else ""
    if not rate.n:
        return f"{name} and {other}: no vote prefers one{bad}"
    said = f"{name} preferred to {other} in {_percent(rate.rate)} of {counted(rate.n, 'vote')} "
    said += f"(95 % interval {_interval(rate.low, rate.high)}; "
    said += f"{rate.wins} won, {counted(rate.ties, 'tie')}, {rate.losses} lost{bad}): "
    if rate.decided:
        return f"{said}{'preferred' if rate.low > 0.5 else 'not preferred'}"
    if rate.more_votes is None:
        return f"{said}undecided, {'too few votes' if rate.n < LEAST else 'practically even'}"
    return f"{said}undecided; about {counted(rate.more_votes, 'more vote')} would decide"


def told_steadiness(found: SelfAgreement) -> str:
    """How steady the judges are, in words."""
    if not found.n:
        return "No repeated pair was judged: how steady the judge is, is not known"
    said = f"Repeated pairs judged alike: {found.n_alike} of {found.n}"
    return f"{said} (95 % interval {_interval(found.low, found.high)})"


def _couples(review: Review) -> Iterable[tuple[str, str]]:
    return combinations(review.runs, 2)


def _names(pair: tuple[str, str], review: Review) -> tuple[str, str]:
    return review.runs[pair[0]], review.runs[pair[1]]


def _show_strengths(votes: Sequence[Vote], review: Review) -> None:
    table = Table(box=SIMPLE_HEAD)
    for name in ("variant", "votes", "preferred", "95 % interval"):
        table.add_column(name, justify="left" if name == "variant" else "right")
    known = sorted(
        bradley_terry_scores(votes, list(review.runs)), key=lambda one: -one.rate if one.n else 1
    )
    for one in known:
        rate, interval = _percent(one.rate), _interval(one.low, one.high)
        cells = (
            printable(review.runs[one.run_id]),
            str(one.n),
            *((rate, interval) if one.n else ()),
        )
        table.add_row(*(Text(cell) for cell in cells))
    Console(highlight=False).print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _tell(lines: Iterable[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text(printable(line)))
