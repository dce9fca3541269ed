"""All that lies in a folder, by names that are safe to write down; nothing is opened."""

import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_UNKNOWN = (0, 0, 0)


@dataclass(frozen=True)
class FileEntry:
    """A file, or what else there is in a folder.

    Attributes:
        path: Relative to the root, POSIX, `escaped`; unique in its tree.
        file: Absolute.
        state: What changes when the file does: size, time of the last change in ns, inode.
        closed: Why it is not to be opened, such as "a link"; "" for regular files.
    """

    path: str
    file: Path
    state: tuple[int, int, int]
    closed: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.state[0]

    @property
    def category(self) -> str:
        """The folder part of the path; "." at the top level."""
        return Path(self.path).parent.as_posix()


def all_files(root: Path, without: Collection[Path] = ()) -> list[FileEntry]:
    """Everything below a folder but folders, sorted by path.

    Links are not followed. A folder that is hidden or cannot be read stands for what is in it.

    Args:
        root: Absolute.
        without: Folders that are passed over.

    Raises:
        OSError: The root itself cannot be read.
    """
    os.scandir(root).close()
    states = {path: (state, closed) for path, state, closed in _walk(root, without)}
    found = {path.relative_to(root).as_posix(): path for path in states}
    by_path: dict[str, FileEntry] = {}
    # Names that need escapes come first: a literal %E9 beside the byte gives way.
    for name in sorted(found, key=lambda name: (escaped(name) == name, name)):
        safe = escaped(name)
        while safe in by_path:
            safe = safe.replace("%", "%25")
        by_path[safe] = FileEntry(safe, found[name], *states[found[name]])
    return [by_path[name] for name in sorted(by_path)]


def _walk(
    root: Path, without: Collection[Path]
) -> Iterator[tuple[Path, tuple[int, int, int], str]]:
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            yield folder, _UNKNOWN, f"unreadable: {error.strerror}"
            continue
        for entry in entries:
            path = Path(entry.path)
            if path in without:
                continue
            try:
                state = entry.stat(follow_symlinks=False)
            except OSError as error:
                yield path, _UNKNOWN, f"unreadable: {error.strerror}"
                continue
            if stat.S_ISDIR(state.st_mode) and not entry.name.startswith("."):
                folders.append(path)
            else:
                yield path, file_state(state), _closed(entry.name, state.st_mode)


def file_state(state: os.stat_result) -> tuple[int, int, int]:
    """What `Found.state` holds."""
    return state.st_size, state.st_mtime_ns, state.st_ino


def _closed(name: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if name.startswith("."):
        return "hidden"
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def escaped(path: str) -> str:
    r"""Return a path with the bytes that are not UTF-8 as percent escapes.

    >>> escaped(os.fsdecode(b"caf\xe9/50%.jpg"))
    'caf%E9/50%.jpg'
    """
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", path)
