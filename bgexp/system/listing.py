"""All files below a folder, under names that are safe to write down; nothing is opened."""

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
    """A file, or another entry of a folder.

    Attributes:
        path: Relative to the root, POSIX, `escape_path`; unique in its tree.
        file: Absolute path.
        state: Size in bytes, time of the last change in ns, inode: differs once the file changes.
        closed: Why it must not be opened, such as "a link"; "" for regular files.
    """

    path: str
    file: Path
    state: tuple[int, int, int]
    closed: str = ""

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.state[0]

    @property
    def category(self) -> str:
        """Return the folder part of the path; "." at the top level."""
        return Path(self.path).parent.as_posix()


def list_all_files(root: Path, without: Collection[Path] = ()) -> list[FileEntry]:
    """List everything below a folder but folders, sorted by path.

    Links are not followed. A folder that is hidden or cannot be read stands for what is in it.

    Args:
        root: Absolute path of the folder.
        without: Folders that are left out.

    Raises:
        OSError: The root itself cannot be read.
    """
    os.scandir(root).close()
    states = {path: (state, closed) for path, state, closed in _walk(root, without)}
    paths = {path.relative_to(root).as_posix(): path for path in states}
    by_path: dict[str, FileEntry] = {}
    # Names that need escapes come first: a literal %E9 beside the byte gives way.
    for name in sorted(paths, key=lambda name: (escape_path(name) == name, name)):
        safe = escape_path(name)
        while safe in by_path:
            safe = safe.replace("%", "%25")
        by_path[safe] = FileEntry(safe, paths[name], *states[paths[name]])
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
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                yield path, _UNKNOWN, f"unreadable: {error.strerror}"
                continue
            if stat.S_ISDIR(status.st_mode) and not entry.name.startswith("."):
                folders.append(path)
            else:
                yield path, read_file_state(status), _explain_closed(entry.name, status.st_mode)


def read_file_state(status: os.stat_result) -> tuple[int, int, int]:
    """Return the state of a file as `FileEntry.state` holds it."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def _explain_closed(name: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    if name.startswith("."):
        return "hidden"
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a regular file")


def escape_path(path: str) -> str:
    r"""Return a path with the bytes that are not UTF-8 as percent escapes.

    >>> escape_path(os.fsdecode(b"caf\xe9/50%.jpg"))
    'caf%E9/50%.jpg'
    """
    return re.sub("[\udc80-\udcff]", lambda match: f"%{ord(match[0]) - 0xDC00:02X}", path)
