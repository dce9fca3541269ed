"""Progress of long work: a bar on a terminal, lines in a log; both on standard error."""

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

from bgexp.system.terminal import make_printable

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_LINE_SECONDS = 30.0  # at least every so often, and at each tenth that took a second


def tell(line: str) -> None:
    """Print a line above the bar; what could steer a terminal is escaped."""
    _CONSOLE.print(Text(make_printable(line)))


@contextmanager
def show_progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield the function to call after each item, with the number of failed ones so far."""
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

        def step(failed: int) -> None:
            completed = bar.tasks[0].completed + 1
            rate = f"{completed / max(1e-9, monotonic() - start):.1f}/s"
            bar.update(task, advance=1, rate=rate, bad=f"{failed} failed" if failed else "")

        yield step


class _Lines:
    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._count = label, total, 0
        self._start = self._last_line = monotonic()

    def step(self, failed: int) -> None:
        self._count += 1
        now = monotonic()
        tenth = self._count * 10 // self._total > (self._count - 1) * 10 // self._total
        due = now - self._last_line > (1 if tenth else _LINE_SECONDS)
        if due or self._count == self._total:
            self._last_line = now
            rate = self._count / max(1e-9, now - self._start)
            left = (self._total - self._count) / rate
            bad = f", {failed} failed" if failed else ""
            line = f"{self._label}: {self._count} of {self._total}, {rate:.1f}/s, {left:.0f} s left"
            print(f"{line}{bad}", file=sys.stderr, flush=True)
