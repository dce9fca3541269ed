"""The files of an input with what their headers say, from which a batch is planned."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from typing import Self

from bgexp.batch.engine import Engine
from bgexp.batch.input_files import Input
from bgexp.batch.planned_file import (
    PlannedFile,
    decode_planned_files,
    encode_planned_files,
    quote_path,
)
from bgexp.batch.shape_issues import find_shape_issues
from bgexp.config.batch import BatchSettings, QualityRules
from bgexp.errors import HaltedError
from bgexp.quality.header import Header, read_header
from bgexp.system.folders import Folder
from bgexp.system.listing import UNREADABLE, FileEntry
from bgexp.system.progress import show_progress
from bgexp.system.signals import StopRequest
from bgexp.system.stores import StoreError
from bgexp.system.workers import TaskFailure

_CHUNK = 64  # files whose headers are one task

Chunk = tuple[int, Sequence[FileEntry]]  # its number, and its files


class Drafts:
    """Planned files that have no outputs yet, in the order of their paths, kept in a file.

    Where it is used as a context, the file is closed, and gone, at its end.
    """

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115  # closed by __exit__
        self._places: dict[int, tuple[int, int]] = {}
        self.n_files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def add(self, number: int, drafts: Sequence[PlannedFile]) -> None:
        """Keep the drafts of a chunk, whose place is by its number."""
        data = encode_planned_files(drafts)
        self._places[number] = self._file.seek(0, os.SEEK_END), len(data)
        self._file.write(data)
        self.n_files += len(drafts)

    def __iter__(self) -> Iterator[PlannedFile]:
        for number in sorted(self._places):
            start, size = self._places[number]
            self._file.seek(start)
            drafts = decode_planned_files(self._file.read(size))
            if drafts is None:  # no file may be left out for it
                raise HaltedError("input: the temporary file of what was listed is damaged")
            yield from drafts


@contextmanager
def draft_files(
    settings: BatchSettings, source: Input, output: Folder, engine: Engine, stop: StopRequest
) -> Iterator[Drafts]:
    """List the files of the input and read their headers, for as long as the context lasts.

    Raises:
        UserError: The input cannot be listed, or is empty.
        Interruption: A signal came.
    """
    chunks = _divide(source.walk(output, settings.follow_links))
    read_chunk = partial(_make_chunk_reader, settings.quality)
    failed_chunks = []
    with Drafts() as drafts, show_progress("headers", None) as step:
        for (number, entries), outcome in engine.run(chunks, read_chunk, stop):
            if isinstance(outcome, TaskFailure):
                failed_chunks.append((number, entries))
            elif isinstance(outcome, StoreError):
                raise _describe(outcome)
            else:
                drafts.add(number, outcome)
                step(0, len(entries))
        for number, entries in failed_chunks:  # one of its files is at fault, the others are not
            drafts.add(number, _draft_each(entries, settings.quality, engine, stop))
            step(0, len(entries))
        stop.raise_if_set()
        yield drafts


def _divide(entries: Iterator[FileEntry]) -> Iterator[Chunk]:
    number = 0
    while chunk := list(islice(entries, _CHUNK)):
        yield number, chunk
        number += 1


def _make_chunk_reader(rules: QualityRules) -> Callable[[Chunk], list[PlannedFile] | StoreError]:
    """Return the function that a worker calls with each chunk."""

    def read_chunk(chunk: Chunk) -> list[PlannedFile] | StoreError:
        try:
            return [draft_file(entry, read_header(entry), rules) for entry in chunk[1]]
        except StoreError as error:  # no file is at fault
            return error

    return read_chunk


def _draft_each(
    entries: Iterable[FileEntry], rules: QualityRules, engine: Engine, stop: StopRequest
) -> list[PlannedFile]:
    """Draft files one by one; a file whose header ends or holds up its worker is skipped."""
    chunks = list(_divide_singly(entries))
    drafts: dict[int, PlannedFile] = {}
    for (number, (entry,)), outcome in engine.run(chunks, partial(_make_chunk_reader, rules), stop):
        if isinstance(outcome, TaskFailure):
            header = Header("image", f"{UNREADABLE}: its header: {outcome.reason}")
            outcome = [draft_file(entry, header, rules)]
        if isinstance(outcome, StoreError):
            raise _describe(outcome)
        (drafts[number],) = outcome
    stop.raise_if_set()
    return [drafts[number] for number, _ in chunks]


def _describe(error: StoreError) -> HaltedError:
    return HaltedError(f"input: {error.filename}: {error.strerror}; run the same command again")


def _divide_singly(entries: Iterable[FileEntry]) -> Iterator[Chunk]:
    return ((number, [entry]) for number, entry in enumerate(entries))


def draft_file(entry: FileEntry, header: Header, rules: QualityRules) -> PlannedFile:
    """Return what is known of a file by itself: why it is skipped, its issues, what it lacks."""
    file = PlannedFile(
        entry.path,
        quote_path(entry.file),
        entry.state,
        header.reason,
        0 if header.reason else header.width,
        0 if header.reason else header.height,
    )
    if header.reason or not rules.enabled:
        return file
    fields = header.metadata.fields if header.metadata else {}
    return replace(
        file,
        issues=tuple(_find_issues(header, rules)),
        missing=tuple(field for field in rules.exif if not fields.get(field)),
    )


def _find_issues(header: Header, rules: QualityRules) -> list[str]:
    issues = find_shape_issues(header.width, header.height, rules) if header.width else []
    return [*issues, *(["wrong_extension"] if header.extension_agrees is False else [])]
