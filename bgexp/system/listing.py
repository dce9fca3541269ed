"""All files below a folder, under names that are safe to write down; nothing is opened."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_UNKNOWN = (0, 0, 0)
LINK = "a link"  # why an entry is closed


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


def list_all_files(
    root: Path, without: Collection[Path] = (), follow_links: bool = False
) -> list[FileEntry]:
    """List everything below a folder but folders, sorted by path.

    A folder that is hidden or cannot be read stands for what is in it.

    Args:
        root: Absolute path of the folder.
        without: Folders that are left out.
        follow_links: Whether links stand for what they lead to. Each folder is listed once: a link
            to one that is listed elsewhere, or that leads back, is an entry of its own.

    Raises:
        OSError: The root itself cannot be read.
    """
    os.scandir(root).close()
    states = {path: (state, closed) for path, state, closed in _walk(root, without, follow_links)}
    paths = {path.relative_to(root).as_posix(): path for path in states}
    by_path: dict[str, FileEntry] = {}
    # Names that need escapes come first: a literal %E9 beside the byte gives way.
    for name in sorted(paths, key=lambda name: (escape_path(name) == name, name)):
        safe = escape_path(name)
        while safe in by_path:
            safe = safe.replace("%", "%25")
        by_path[safe] = FileEntry(safe, paths[name], *states[paths[name]])
    return [by_path[name] for name in sorted(by_path)]


def describe_passed_over(counts: Mapping[str, int], key: str) -> str:
    """Return how many entries were passed over and why; `key`: the setting that follows links.

    >>> describe_passed_over({"a link": 6, "hidden": 1}, "follow_links")
    'a link (6; follow_links=true reads what it leads to), hidden (1)'
    """
    hints = {LINK: f"; {key}=true reads what it leads to"}
    return ", ".join(f"{reason} ({n:,}{hints.get(reason, '')})" for reason, n in counts.items())


def _walk(
    root: Path, without: Collection[Path], follow_links: bool
) -> Iterator[tuple[Path, tuple[int, int, int], str]]:
    folders: list[Path] = [root]
    links: list[Path] = []  # to folders: they come last, so that what is in the tree counts there
    known = {os.path.realpath(path): "" for path in without}
    while folders or links:
        folder = folders.pop() if folders else heappop(links)
        if follow_links and (reason := _explain_known(folder, root, known)) is not None:
            if reason:
                yield folder, _UNKNOWN, reason
            continue
        scanned = _scan(folder, follow_links)
        for path, status, closed in (entry for entry in scanned if entry[0] not in without):
            if status is None:
                yield path, _UNKNOWN, closed
            elif not stat.S_ISDIR(status.st_mode) or path.name.startswith("."):
                yield path, read_file_state(status), closed
            elif path.is_symlink():
                heappush(links, path)
            else:
                folders.append(path)


def _explain_known(folder: Path, root: Path, known: dict[str, str]) -> str | None:
    """Return why a folder is not to be walked, "" where it is left out; else None, and note it."""
    place = os.path.realpath(folder)
    if folder != root and Path(os.path.realpath(root)).is_relative_to(place):
        return f"{LINK} that leads back"
    if place in known:
        return known[place]
    known[place] = "listed elsewhere"
    return None


def _scan(folder: Path, follow_links: bool) -> Iterator[tuple[Path, os.stat_result | None, str]]:
    """Yield a folder's entries, or itself, with their status where it is known."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        yield folder, None, f"unreadable: {error.strerror}"
        return
    for entry in entries:
        path, is_followed = Path(entry.path), False
        try:
            is_followed = follow_links and entry.is_symlink() and not entry.name.startswith(".")
            status = entry.stat(follow_symlinks=is_followed)
        except OSError as error:
            reason = (
                f"{LINK} that leads nowhere" if is_followed else f"unreadable: {error.strerror}"
            )
            yield path, None, reason
            continue
        yield path, status, _explain_closed(entry.name, status.st_mode)


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
