"""The journal of a batch: one record per input, written as it is processed, for resuming.

One line per record, each with a checksum, synced to disk before the next is written. A line that
is damaged or torn is no record: its input is processed again. A record never comes before its file.
"""

import errno
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from bgexp.errors import UserError
from bgexp.system.atomic import write_whole
from bgexp.system.hashing import hash_bytes

_CHECKSUM = 16  # hexadecimal digits of the line's SHA-256


@dataclass(frozen=True)
class Identity:
    """Everything besides its input that determines a result."""

    settings_hash: str
    weights_sha256: str
    model_name: str
    model_version: str = ""


@dataclass(frozen=True)
class Record:
    """One row of the manifest; paths are POSIX.

    Attributes:
        path: Relative to the input folder; bytes that are not UTF-8 are percent-escaped.
        status: done, failed (in processing), or skipped (corrupt, not an image, not accepted).
        reason: Why it failed or was skipped, in one line.
        output, mask: Relative to the output folder; "" where there is none.
        kind: regular or outlier; "" where it was not processed.
        quality_issues: What the quality rules found, such as "huge".
        missing_metadata: The required fields that are missing.
        handling: What was done about the issues.
        width, height: Of the upright output, in pixels.
        coverage: The share of the image that is foreground, 0 to 1.
        flags: Why to look at the result, such as "nothing_found".
        timings_ms: Milliseconds by stage.
        memory: Peak resident memory of its worker meanwhile, in bytes.
    """

    # Read strictly: a line is of this version and whole, or it is damaged.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    path: str
    category: str
    status: Literal["done", "failed", "skipped"]
    reason: str = ""
    output: str = ""
    mask: str = ""
    kind: str = ""
    quality_issues: tuple[str, ...] = ()
    missing_metadata: tuple[str, ...] = ()
    handling: str = ""
    input_sha256: str = ""
    output_sha256: str = ""
    mask_sha256: str = ""
    settings_hash: str = ""
    weights_sha256: str = ""
    model_name: str = ""
    model_version: str = ""
    width: int = 0
    height: int = 0
    coverage: float | None = None
    confidence: float | None = None
    flags: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)
    memory: int = 0


@dataclass(frozen=True)
class _FirstLine:
    __pydantic_config__: ClassVar[ConfigDict] = Record.__pydantic_config__

    batch: dict[str, Any]


_LINE: TypeAdapter[Record | _FirstLine] = TypeAdapter(Record | _FirstLine)


class Journal:
    """The file of records of one output folder, open for appending."""

    def __init__(self, path: Path, identity: Mapping[str, Any], records: Iterable[Record]) -> None:
        """Write it anew, whole: nothing is ever appended behind a torn line."""
        lines = [
            _encode_line({"batch": dict(identity)}),
            *(_encode_line(asdict(record)) for record in records),
        ]
        write_whole(path, b"".join(lines))
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)

    def add(self, record: Record) -> None:
        """Append a record; it is on disk when this returns.

        Raises:
            OSError: It could not be written.
        """
        line, size = _encode_line(asdict(record)), os.fstat(self._file).st_size
        if os.write(self._file, line) != len(line):  # a full disk takes a part
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._file)


def read_journal(path: Path) -> tuple[dict[str, Any] | None, dict[str, Record], int]:
    """Read an earlier batch's identity, the last record of each input, and damaged lines.

    The identity is None where there is no journal or its first line is damaged.

    Raises:
        UserError: It cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return None, {}, 0
    except OSError as error:
        raise UserError(f"output: {path}: {error.strerror}") from error
    identity, records, damaged = None, {}, 0
    for line in lines:
        entry = _decode_line(line)
        if isinstance(entry, Record):
            records[entry.path] = entry
        elif entry is None:
            damaged += 1
        else:
            identity = entry.batch
    return identity, records, damaged


def _encode_line(content: Mapping[str, Any]) -> bytes:
    # ASCII: no name then holds a line break, whatever characters a reader splits lines at.
    text = json.dumps(content, allow_nan=False).encode()
    return hash_bytes(text)[:_CHECKSUM].encode() + b" " + text + b"\n"


def _decode_line(line: bytes) -> Record | _FirstLine | None:
    """Return what a line holds; None where it is damaged, or of another version or other types."""
    checksum, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or hash_bytes(text[:-1])[:_CHECKSUM].encode() != checksum:
        return None
    try:
        return _LINE.validate_json(text)
    except ValidationError:
        return None
