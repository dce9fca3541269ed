"""What a disk holds after a power cut: all that was synced, and any part of what was not.

Stricter than most file systems: the name of a new file is not on disk by a sync of the file, the
names in a folder come one by one, and of an unsynced write any part may be there.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.calls import Call

State = dict[str, bytes | None]  # by POSIX path; None for a folder


@dataclass(eq=False)
class File:
    """A file: its bytes on disk, and changes that are not synced: offset, and data or None to cut.

    `now` is what programs see.
    """

    disk: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass(eq=False)
class Folder:
    """A folder: its entries on disk, and changes that are not synced, each whole or not at all."""

    disk: "dict[str, File | Folder]" = field(default_factory=dict)
    now: "dict[str, File | Folder]" = field(default_factory=dict)
    changes: "list[dict[str, File | Folder | None]]" = field(default_factory=list)


class Disk:
    """The disk below one folder, as calls change it."""

    def __init__(self, root: Path) -> None:
        """Begin with what is in a folder now, all of it on disk."""
        self._root_path, self.root = root, Folder()
        for name, content in read_state(root).items():
            entry = Folder() if content is None else File(content, bytearray(content))
            outer = self._find((root / name).parent)
            outer.disk[Path(name).name] = outer.now[Path(name).name] = entry

    def apply(self, call: Call) -> None:
        """Apply a call that succeeded."""
        if call.name == "rename" and call.path.parent != call.other.parent:
            entry = self._find(call.path)
            self._change(call.other, entry)
            self._change(call.path, None)
        elif call.name == "rename":
            folder = self._find(call.path.parent)
            self._enter(folder, {call.path.name: None, call.other.name: folder.now[call.path.name]})
        elif call.name == "link":
            self._change(call.other, self._find(call.path))
        elif call.name == "unlink":
            self._change(call.path, None)
        elif call.name == "mkdir":
            self._change(call.path, Folder())
        elif call.name == "create":
            self._change(call.path, File())
        elif call.name in ("write", "truncate", "empty", "sync"):
            self._change_content(call)

    def _change_content(self, call: Call) -> None:
        try:
            entry = self._find(call.path)
        except KeyError:  # a file that was deleted while it was open
            return
        if call.name == "sync":
            if isinstance(entry, File):
                entry.disk = bytes(entry.now)
            else:
                entry.disk = dict(entry.now)
            entry.changes.clear()
            return
        data = call.data if call.name == "write" else None
        offset = 0 if call.name == "empty" else call.offset
        _write(entry.now, offset, data)
        entry.changes.append((offset, data))

    def _find(self, path: Path) -> "File | Folder":
        entry: File | Folder = self.root
        for part in path.relative_to(self._root_path).parts:
            entry = entry.now[part]
        return entry

    def _change(self, path: Path, entry: "File | Folder | None") -> None:
        self._enter(self._find(path.parent), {path.name: entry})

    @staticmethod
    def _enter(folder: Folder, names: "dict[str, File | Folder | None]") -> None:
        _update(folder.now, names)
        folder.changes.append(names)

    def read(self, choice: random.Random | None = None) -> State:
        """Return what is on the disk after a power cut.

        Args:
            choice: Which of what is not synced is there; None: nothing of it.
        """
        return dict(_list_state(self.root, "", choice, {}))


def read_state(folder: Path) -> State:
    """Return what is in a folder."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


def write_state(state: State, folder: Path) -> None:
    """Write a state into a new folder."""
    folder.mkdir()
    for name, content in state.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


def _update(names: "dict[str, File | Folder]", changes: "dict[str, File | Folder | None]") -> None:
    for name, entry in changes.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        content[offset:] = b""
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _list_state(
    folder: Folder, prefix: str, choice: random.Random | None, known: dict[File, bytes]
) -> Iterator[tuple[str, bytes | None]]:
    names = dict(folder.disk)
    for changes in folder.changes if choice else ():
        if choice.random() < 0.5:
            _update(names, changes)
    for name, entry in names.items():
        yield f"{prefix}{name}", None if isinstance(entry, Folder) else _know(entry, choice, known)
        if isinstance(entry, Folder):
            yield from _list_state(entry, f"{prefix}{name}/", choice, known)


def _know(file: File, choice: random.Random | None, known: dict[File, bytes]) -> bytes:
    """Return a file's bytes, which are the same by each of its names."""
    if file not in known:
        known[file] = _choose_content(file, choice)
    return known[file]


def _choose_content(file: File, choice: random.Random | None) -> bytes:
    """Return a file's bytes: of each unsynced write all, nothing, a part, or zeros in its place."""
    if not choice or not file.changes:
        return file.disk  # the same object each time, whose hash is known
    content = bytearray(file.disk)
    for offset, data in _choose_changes(file.changes, choice):
        _write(content, offset, data)
    return bytes(content)


def _choose_changes(
    changes: Iterable[tuple[int, bytes | None]], choice: random.Random
) -> Iterable[tuple[int, bytes | None]]:
    for offset, data in changes:
        kept = choice.random()
        if data is None or kept < 0.4:
            if kept < 0.5:
                yield offset, data
        elif kept < 0.6:
            yield offset, data[: choice.randrange(len(data) + 1)]
        elif kept < 0.7:
            yield offset, bytes(len(data))
