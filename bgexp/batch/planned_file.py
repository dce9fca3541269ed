"""A file of the input and what is planned for it, as a worker gets it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PlannedFile:
    """The plan for one input file.

    Attributes:
        path, category: As in `FileEntry`.
        file: Absolute path.
        state: As in `FileEntry`; the file is only processed while it has this state.
        reason: Why it is skipped; "" where it is processed.
        output, mask: Relative to the output folder, POSIX; "" for none.
        kind: regular or outlier; "" where it is skipped.
        issues: What the quality rules found.
        missing: The required metadata fields that are missing.
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
