"""What the look at an output found."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from bgexp.system.progress import show_progress

_THREADS = 8  # hashing releases the GIL, and waits for the disk or the store
_CHUNK = 64  # rows that are begun at once; after Ctrl-C they are still looked at


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was recorded.

    Attributes:
        file: In the output, or the input's path or address.
        problem: What is wrong with it, in a few words.
        row: The path of the row that it belongs to; "" for none.
        actual: SHA-256 of what is there; "" where nothing is, or it cannot be read.
        recorded: SHA-256 that it should have; "" where none was recorded.
    """

    file: str
    problem: str
    row: str = ""
    actual: str = ""
    recorded: str = ""


@dataclass
class Verification:
    """What was looked at, and what is not as it was recorded.

    Attributes:
        output: As it was named.
        n_rows: Rows of the record.
        n_sampled: Rows whose files were read.
        n_results: Results and masks that were read.
        n_inputs: Inputs that were read.
        notes: What could not be looked at, and why.
    """

    output: str
    n_rows: int = 0
    n_sampled: int = 0
    n_results: int = 0
    n_inputs: int = 0
    damage: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Return whether nothing is damaged."""
        return not self.damage


@dataclass
class RowCheck:
    """What was read for one row."""

    n_results: int = 0
    n_inputs: int = 0
    damage: list[Damage] = field(default_factory=list)


class Row(Protocol):
    """A row whose files can be looked at."""

    def check(self) -> RowCheck:
        """Read its files."""
        ...


def check_rows(
    rows: Iterable[Row], n_rows: int, subset: float | None, verification: Verification
) -> None:
    """Read the files of all rows, or of a share of them drawn anew; there is a progress bar."""
    n_sampled = n_rows if subset is None else math.ceil(n_rows * subset)
    sample = set(random.sample(range(n_rows), n_sampled)) if n_sampled < n_rows else range(n_rows)
    chosen = (row for number, row in enumerate(rows) if number in sample)
    with show_progress("rows", n_sampled) as step, ThreadPoolExecutor(_THREADS) as pool:
        for chunk in _divide(chosen):
            for check in pool.map(lambda row: row.check(), chunk):
                verification.n_sampled += 1
                verification.n_results += check.n_results
                verification.n_inputs += check.n_inputs
                verification.damage += check.damage
                step(len(verification.damage))


def _divide(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk
