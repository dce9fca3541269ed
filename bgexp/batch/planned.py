"""A file of the input and what is to become of it, as a worker gets it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PlannedFile:
    """What is to become of one file.

    Attributes:
        path, category: As in `Found`.
        file: Absolute.
        state: As in `Found`; the file is only worked on while it has it.
        reason: Why it is skipped; "" where it is worked on.
        output, mask: Relative to the output folder, POSIX; "" for none.
        kind: regular or outlier; "" where it is skipped.
        issues: What the quality rules found.
        missing: The metadata fields asked for that are missing.
    """

    path: str
    category: str
    file: Path
    state: tuple[int, int, int]
    reason: str = ""
    output: str = ""
    mask: str = ""
    kind: str = ""
    issues: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
