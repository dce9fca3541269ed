"""A file of the input and what is planned for it, as it is kept and as a worker gets it."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import quote, unquote_to_bytes

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from bgexp.system.checked_lines import encode_line, find_text
from bgexp.system.listing import UNREADABLE
from bgexp.system.stores import Address, read_place


def _check_address(address: str) -> str:
    read_place(address)
    return address


@dataclass(frozen=True)
class PlannedFile:
    """The plan for one input file.

    Attributes:
        path: As in `FileEntry`.
        address: Absolute path, its bytes percent-quoted, or the address of an object.
        state: As in `FileEntry`; the file is only processed while it has this state.
        reason: Why it is skipped, or cannot be read; "" where it is processed.
        width, height: Of the upright image, in pixels; 0 where unknown.
        output, mask, alpha: Relative to the output folder, POSIX; "" for none.
        kind: regular or outlier; "" where it is skipped.
        issues: What the quality rules found.
        missing: The required metadata fields that are missing.
    """

    # Read strictly: a line is of this version and whole, or it is damaged.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    path: str
    address: Annotated[str, AfterValidator(_check_address)]
    state: tuple[int, int, int]
    reason: str = ""
    width: int = 0
    height: int = 0
    output: str = ""
    mask: str = ""
    alpha: str = ""
    kind: str = ""
    issues: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def results(self) -> list[str]:
        """Return the names of all files that are written for it."""
        return [name for name in (self.output, self.mask, self.alpha) if name]

    @cached_property
    def file(self) -> Path | Address:
        """Return the absolute path, or the address of the object."""
        place = read_place(self.address)
        if isinstance(place, Address):
            return place
        return Path(os.fsdecode(unquote_to_bytes(self.address)))

    @property
    def category(self) -> str:
        """Return the folder part of the path; "." at the top level."""
        return self.path.rpartition("/")[0] or "."

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.state[0]


_FILE = TypeAdapter(PlannedFile)


def judge_reason(reason: str) -> Literal["failed", "skipped"]:
    """Return what a file is for this reason: failed where it may be an image that was not read."""
    return "failed" if reason.startswith(UNREADABLE) else "skipped"


def quote_path(file: Path | Address) -> str:
    """Return the address of a file: its path's bytes, percent-quoted; an object's as it is."""
    return str(file) if isinstance(file, Address) else quote(os.fsencode(file))


def encode_planned_files(files: Iterable[PlannedFile]) -> bytes:
    """Return the lines of a file that holds them."""
    return b"".join(encode_line(asdict(file)) for file in files)


def decode_planned_files(data: bytes) -> list[PlannedFile] | None:
    """Return what such a file holds; None where it is damaged or of another version."""
    files = []
    for line in data.splitlines(keepends=True):
        if (text := find_text(line)) is None:
            return None
        try:
            files.append(_FILE.validate_json(text))
        except ValidationError:
            return None
    return files
