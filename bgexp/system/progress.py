"""How far long work is: a bar on a terminal, lines in a log; both on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

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

from bgexp.system.terminal import printable

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_TOLD_EVERY = 30.0  # seconds, at least; and at each tenth, where that took a second


def tell(line: str) -> None:
    """Prints a line above the bar; what could steer a terminal is escaped."""
    _CONSOLE.print(Text(printable(line)))


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives what is called after each item, with the number of those that failed so far."""
    if not _CONSOLE.is_terminal:
        yield _Lines(what, total).step
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
        task = bar.add_task(what, total=total, rate="", bad="")
        started = monotonic()

        def step(failed: int) -> None:
            done = bar.tasks[0].completed + 1
            rate = f"{done / max(1e-9, monotonic() - started):.1f}/s"
            bar.update(task, advance=1, rate=rate, bad=f"{failed} failed" if failed else "")

        yield step


class _Lines:
    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._started = self._told = monotonic()

    def step(self, failed: int) -> None:
        self._done += 1
        now = monotonic()
        tenth = self._done * 10 // self._total > (self._done - 1) * 10 // self._total
        due = now - self._told > (1 if tenth else _TOLD_EVERY)
        if due or self._done == self._total:
            self._told = now
            rate = self._done / max(1e-9, now - self._started)
            left = (self._total - self._done) / rate
            bad = f", {failed} failed" if failed else ""
            line = f"{self._what}: {self._done} of {self._total}, {rate:.1f}/s, {left:.0f} s left"
            print(f"{line}{bad}", file=sys.stderr, flush=True)
