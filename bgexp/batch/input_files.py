"""What a batch is to process: a folder with all below it, or files and folders that are named."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bgexp.errors import UserError
from bgexp.system.folders import Folder, LocalFolder, StoreFolder
from bgexp.system.listing import (
    UNREADABLE,
    FileEntry,
    escape_path,
    read_file_state,
    walk_files,
    walk_store,
)
from bgexp.system.store_copies import explain_missing
from bgexp.system.stores import Address

LIST = ".txt"  # the ending of a file that names one input a line


class Input(Protocol):
    """The input of a batch.

    Attributes:
        root: What all paths are relative to.
    """

    @property
    def root(self) -> Path | Address:
        """Return the absolute path or the address."""
        ...

    @property
    def folders(self) -> set[str]:
        """The absolute folders that the files are read from."""
        ...

    def walk(self, output: Folder | None = None, follow_links: bool = False) -> Iterator[FileEntry]:
        """Yield the files in the order of their paths; those of the output are none.

        Raises:
            UserError: The input cannot be listed, or there is nothing.
        """
        ...


@dataclass(frozen=True)
class StoredInput:
    """What lies below an address of an object store.

    Attributes:
        root: Of a bucket, or of what is below it.
    """

    root: Address

    @property
    def folders(self) -> set[str]:
        """The address."""
        return {self.root}

    def walk(
        self,
        output: Folder | None = None,
        follow_links: bool = False,  # noqa: ARG002
    ) -> Iterator[FileEntry]:
        """Yield the objects; there are no links among them."""
        without = [output.address] if isinstance(output, StoreFolder) else []
        return _refuse_empty(self.root, walk_store(self.root, without))


@dataclass(frozen=True)
class InputFiles:
    """Files of a file system.

    Attributes:
        root: Absolute folder that all paths are relative to.
        named: Absolute paths of the files and folders that were named; () for all below the root.
    """

    root: Path
    named: tuple[Path, ...] = ()

    @property
    def folders(self) -> set[str]:
        """The absolute folders that the files are read from."""
        named = {path if path.is_dir() else path.parent for path in self.named}
        return set(map(str, named or {self.root}))

    def walk(self, output: Folder | None = None, follow_links: bool = False) -> Iterator[FileEntry]:
        """Yield the files as `walk_files` does; what is named and not there has its entry, too."""
        without = [output.path] if isinstance(output, LocalFolder) else []
        return _refuse_empty(self.root, self._walk(without, follow_links))

    def _walk(self, without: Collection[Path], follow_links: bool) -> Iterator[FileEntry]:
        if not self.named:
            yield from walk_files(self.root, without, follow_links)
            return
        by_path = {
            entry.path: entry
            for path in self.named
            for entry in self._list_named(path, without, follow_links)
        }
        yield from (by_path[path] for path in sorted(by_path))

    def _list_named(
        self, path: Path, without: Collection[Path], follow_links: bool
    ) -> Iterator[FileEntry]:
        name = escape_path(path.relative_to(self.root).as_posix())
        if path.is_dir():
            for entry in walk_files(path, without, follow_links):
                yield replace(entry, path=entry.path if name == "." else f"{name}/{entry.path}")
            return
        target = Path(os.path.realpath(path))  # a link that is named is meant
        try:
            yield FileEntry(name, target, read_file_state(target.stat()))
        except OSError as error:
            yield FileEntry(name, target, (0, 0, 0), f"{UNREADABLE}: {error.strerror}")


def _refuse_empty(root: Path | Address, entries: Iterator[FileEntry]) -> Iterator[FileEntry]:
    is_empty = True
    try:
        for entry in entries:
            is_empty = False
            yield entry
    except OSError as error:
        raise UserError(f"input: {error.filename}: {error.strerror}") from error
    if is_empty:
        raise UserError(f"input: {root} is empty")


def find_input(places: Sequence[Path | Address]) -> Input:
    """Find the input that a setting names: a folder, a file, several of them, or lists (.txt).

    The lines of a list are relative to the current folder, as those of `find` are.

    Raises:
        UserError: There is no such file or folder, or a list that names nothing.
    """
    addresses = [place for place in places if isinstance(place, Address)]
    if addresses and len(places) > 1:
        raise UserError(f"input: {addresses[0]}: an address of a store is given alone")
    if addresses and (reason := explain_missing(addresses[0])):
        raise UserError(f"input: {reason}: {addresses[0]}")
    return StoredInput(addresses[0]) if addresses else _find_files(list(map(Path, places)))


def _find_files(places: Sequence[Path]) -> InputFiles:
    if len(places) == 1 and places[0].is_dir():
        return InputFiles(Path(os.path.realpath(places[0])))
    named: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise UserError(f"input: no such folder or file: {place}")
        is_list = place.suffix.lower() == LIST and place.is_file()
        named |= dict.fromkeys(map(_locate, _read_list(place) if is_list else (place,)))
    folders = [path if path.is_dir() else path.parent for path in named]
    return InputFiles(Path(os.path.commonpath(folders)), tuple(named))


def _locate(path: Path) -> Path:
    """Return the absolute path, in which only the last part may be a link."""
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent), path.name)


def _read_list(file: Path) -> list[Path]:
    try:
        lines = os.fsdecode(file.read_bytes()).removeprefix("\ufeff").splitlines()
    except OSError as error:
        raise UserError(f"input: {file}: {error.strerror}") from error
    paths = [Path(line).expanduser() for line in lines if line.strip()]
    if not paths:
        raise UserError(f"input: {file} names no file")
    return paths
