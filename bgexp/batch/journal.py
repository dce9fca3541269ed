"""The journal of a batch's part: one record per input, as it is processed, for resuming.

One line per record, each with a checksum, synced to disk before the next is written. A line that
is damaged or torn is no record: its input is processed again. A record never comes before its file.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from bgexp.batch.output_paths import TREES
from bgexp.errors import UserError
from bgexp.system.checked_lines import encode_line, find_text
from bgexp.system.folders import Folder, LocalFolder
from bgexp.system.inside import is_inside
from bgexp.system.state_files import MAX_STATE

_INTERVAL = 5.0  # seconds between two writes of a journal in an object store
_END = 400  # bytes; the line that closes a journal has fewer


@dataclass(frozen=True)
class Identity:
    """Everything besides its input that determines a result."""

    settings_hash: str
    weights_sha256: str
    model_name: str
    model_version: str = ""


@dataclass(frozen=True)
class Origin:
    """What determines the results of a batch.

    Attributes:
        identity: What each record names of it.
        provenance: All of it, by the name of its setting, and where the input is.
        device: What computes, as `describe_device` returns it.
    """

    identity: Identity
    provenance: dict[str, Any]
    device: dict[str, str]


@dataclass(frozen=True)
class Record:
    """One row of the manifest; paths are POSIX.

    Attributes:
        path: Relative to the input folder; bytes that are not UTF-8 are percent-escaped.
        status: done, failed (in processing), or skipped (corrupt, not an image, not accepted).
        reason: Why it failed or was skipped, in one line.
        output, mask, alpha: Relative to the output folder; "" where there is none.
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
    alpha: str = ""
    kind: str = ""
    quality_issues: tuple[str, ...] = ()
    missing_metadata: tuple[str, ...] = ()
    handling: str = ""
    input_sha256: str = ""
    output_sha256: str = ""
    mask_sha256: str = ""
    alpha_sha256: str = ""
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

    @property
    def results(self) -> dict[str, str]:
        """Return the SHA-256 of all files that were written, by their names."""
        files = {
            self.output: self.output_sha256,
            self.mask: self.mask_sha256,
            self.alpha: self.alpha_sha256,
        }
        return {name: sha256 for name, sha256 in files.items() if name}


@dataclass(frozen=True)
class Closing:
    """The end of a part's work.

    Attributes:
        newly_done: How many results were made by whoever closed the part.
        began, ended: When, in seconds since 1970.
    """

    __pydantic_config__: ClassVar[ConfigDict] = Record.__pydantic_config__

    newly_done: int
    began: float
    ended: float


_LINE: TypeAdapter[Record | Closing] = TypeAdapter(
    Annotated[Record | Closing, Field(union_mode="left_to_right")]
)


@dataclass
class JournalContent:
    """What a part's journal holds.

    Attributes:
        records: The last record of each input by its path.
        superseded: Earlier records of results under other names, whose files may still be there.
        closing: The end of the part's work; None where it never came, or more was written after.
        damaged: How many lines were damaged.
    """

    records: dict[str, Record] = field(default_factory=dict)
    superseded: list[Record] = field(default_factory=list)
    closing: Closing | None = None
    damaged: int = 0

    def add(self, entry: Record | Closing | None) -> None:
        """Take in what the next line holds; None for a damaged one."""
        if isinstance(entry, Closing):
            self.closing = entry
            return
        self.closing = None
        if entry is None:
            self.damaged += 1
            return
        before = self.records.get(entry.path)
        if before and before.output and before.results.keys() != entry.results.keys():
            self.superseded.append(before)
        self.records[entry.path] = entry


class Journal:
    """The file of one part's records. A second worker's takes its place, and harms nothing.

    In an object store, which appends to nothing, it is written whole every few seconds: a kill
    costs the records since then.
    """

    def __init__(self, folder: Folder, name: str, earlier: Iterable[Record] = ()) -> None:
        """Write it anew, whole: nothing is ever appended behind a torn line."""
        data = b"".join(encode_line(asdict(record)) for record in earlier)
        folder.write(name, data)
        self._folder, self._name = folder, name
        self._lines = [] if isinstance(folder, LocalFolder) else [data]
        self._written, self._written_at = len(self._lines), monotonic()

    def add(self, entry: Record | Closing) -> None:
        """Append a record or the end; on a file system it is on disk when this returns.

        Raises:
            OSError: It could not be written.
        """
        line = encode_line(asdict(entry))
        if isinstance(self._folder, LocalFolder):
            # Opened for each: a batch may have more parts begun than it may have files open.
            self._folder.append(self._name, line)
            return
        self._lines.append(line)
        if isinstance(entry, Closing) or monotonic() - self._written_at > _INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Write what was added and is not written yet, or raise OSError."""
        if self._written < len(self._lines):
            self._folder.write(self._name, b"".join(self._lines))
            self._written, self._written_at = len(self._lines), monotonic()


def read_journal(folder: Folder, name: str) -> JournalContent:
    """Read a part's journal; one that is not there is empty.

    Raises:
        UserError: It cannot be read, or names a file that is no result of the output folder.
    """
    content = JournalContent()
    try:
        lines = folder.read(name, MAX_STATE).splitlines(keepends=True)
    except FileNotFoundError:
        return content
    except OSError as error:
        raise UserError(f"output: {folder}/{name}: {error.strerror}") from error
    for line in lines:
        entry = _decode_line(line)
        if isinstance(entry, Record):
            for result in entry.results:
                refuse_strange_name(result, f"{folder}/{name}")
        content.add(entry)
    return content


def is_closed(folder: Folder, name: str) -> bool:
    """Return whether the last line of a part's journal closes it; nothing else is looked at."""
    try:
        lines = folder.read_end(name, _END).splitlines(keepends=True)
    except OSError:
        return False
    return bool(lines) and isinstance(_decode_line(lines[-1]), Closing)


def refuse_strange_name(name: str, path: str) -> None:
    """Raise UserError where a name, read from a file of the state, is that of no result."""
    if not (is_inside(name) and name.partition("/")[0] in TREES):
        raise UserError(
            f"output: {path} names {name!r}, which is no result in this folder: choose another "
            "folder, or delete that file"
        )


def _decode_line(line: bytes) -> Record | Closing | None:
    """Return what a line holds; None where it is damaged, or of another version or other types."""
    if (text := find_text(line)) is None:
        return None
    try:
        return _LINE.validate_json(text)
    except ValidationError:
        return None
