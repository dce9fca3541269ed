"""Progress of long work: a bar on a terminal, lines in a log; both on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bgexp.system.terminal import make_printable


class Step(Protocol):
    """What to call as items are done."""

    def __call__(self, failed: int, n_items: int = 1) -> None:
        """Take in how many items failed so far, and how many are done now."""


_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_LINE_SECONDS = 30.0  # at least every so often, and at each tenth that took a second


def tell(line: str) -> None:
    """Print a line above the bar; what could steer a terminal is escaped."""
    _CONSOLE.print(Text(make_printable(line)))


@contextmanager
def show_progress(label: str, total: int | None) -> Iterator[Step]:
    """Yield the function to call as items are done; `total`: None where it is not known."""
    if not _CONSOLE.is_terminal:
        yield _Lines(label, total).step
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[bad]}"),
    )
    with Progress(*columns, console=_CONSOLE) as bar:
        task = bar.add_task(label, total=total, rate="", bad="")
        start = monotonic()

        def step(failed: int, n_items: int = 1) -> None:
            completed = bar.tasks[0].completed + n_items
            rate = f"{completed / max(1e-9, monotonic() - start):.1f}/s"
            bad = f"{failed} failed" if failed else ""
            bar.update(task, advance=n_items, rate=rate, bad=bad)

        yield step


class _Lines:
    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._count = label, total, 0
        self._start = self._last_line = monotonic()

    def step(self, failed: int, n_items: int = 1) -> None:
        before, self._count = self._count, self._count + n_items
        now, total = monotonic(), self._total
        tenth = total is not None and self._count * 10 // total > before * 10 // total
        due = now - self._last_line > (1 if tenth else _LINE_SECONDS)
        if not due and self._count != total:
            return
        self._last_line = now
        rate = self._count / max(1e-9, now - self._start)
        share = f"{self._count} of {total}" if total else f"{self._count:,}"
        left = f", {(total - self._count) / rate:.0f} s left" if total else ""
        bad = f", {failed} failed" if failed else ""
        line = f"{self._label}: {share}, {rate:.1f}/s{left}{bad}"
        print(line, file=sys.stderr, flush=True)
