"""All files below a folder, under names that are safe to write down; nothing is opened."""

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bgexp.system.hashing import hash_bytes
from bgexp.system.stores import Address, StoredObject, walk_objects

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_UNKNOWN = (0, 0, 0)
LINK = "a link"  # why an entry is closed
UNREADABLE = "unreadable"  # begins the reason where the system refuses to read


@dataclass(frozen=True)
class FileEntry:
    """A file, or another entry of a folder.

    Attributes:
        path: Relative to the root, POSIX, `escape_path`; unique in its tree.
        file: Absolute path, or the address of an object.
        state: Size in bytes, time of the last change in ns, inode; of an object a number from its
            ETag in place of the latter two. It differs once the file changes.
        closed: Why it must not be opened, such as "a link"; "" for regular files.
    """

    path: str
    file: Path | Address
    state: tuple[int, int, int]
    closed: str = ""

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.state[0]

    @property
    def category(self) -> str:
        """Return the folder part of the path; "." at the top level."""
        return self.path.rpartition("/")[0] or "."


def list_all_files(
    root: Path, without: Collection[Path] = (), follow_links: bool = False
) -> list[FileEntry]:
    """Return what `walk_files` yields."""
    return list(walk_files(root, without, follow_links))


def walk_files(
    root: Path, without: Collection[Path] = (), follow_links: bool = False
) -> Iterator[FileEntry]:
    """Yield everything below a folder but folders, sorted by path.

    A folder that is hidden or cannot be read stands for what is in it. Only the names of the
    folders on the way are held in memory, and a file is looked at as it is yielded.

    Args:
        root: Absolute path of the folder.
        without: Folders that are left out.
        follow_links: Whether links stand for what they lead to. Each folder is listed once: a link
            to one that is listed elsewhere, or that leads back, is an entry of its own.

    Raises:
        OSError: The root itself cannot be read.
    """
    os.scandir(root).close()
    walk = _Walk(root, without, follow_links)
    pending = [walk.list_folder(_Folder(str(root), "", False))]
    while pending:
        place = next(pending[-1], None)
        if place is None:
            pending.pop()
        elif isinstance(place, FileEntry):
            yield place
        else:
            pending.append(walk.list_folder(place))


def describe_passed_over(counts: Mapping[str, int], key: str) -> str:
    """Return how many entries were passed over and why; `key`: the setting that follows links.

    >>> describe_passed_over({"a link": 6, "hidden": 1}, "follow_links")
    'a link (6; follow_links=true reads what it leads to), hidden (1)'
    """
    hints = {LINK: f"; {key}=true reads what it leads to"}
    return ", ".join(f"{reason} ({n:,}{hints.get(reason, '')})" for reason, n in counts.items())


@dataclass(frozen=True)
class _Folder:
    """A folder to walk into.

    Attributes:
        file: Absolute path.
        prefix: What stands before the names in it, as in `FileEntry.path`.
        linked: Whether a link led there.
    """

    file: str
    prefix: str
    linked: bool


class _Walk:
    """What one walk through a tree has to know: what it leaves out, and where it has been."""

    def __init__(self, root: Path, without: Collection[Path], follow_links: bool) -> None:
        self._root, self._follow_links = Path(os.path.realpath(root)), follow_links
        self._without = {str(path) for path in without}
        self._known: dict[str, str] = {}
        if follow_links:  # what is in the tree counts there, not where a link leads to it
            for folder, inner, _ in os.walk(root):
                inner[:] = [name for name in inner if name[0] != "."]
                self._known[os.path.realpath(folder)] = "listed elsewhere"
            self._known |= {os.path.realpath(path): "" for path in without}

    def list_folder(self, folder: _Folder) -> "Iterator[FileEntry | _Folder]":
        """Yield what is in a folder, in the order of the paths that come of it."""
        try:
            names, inner = self._read_names(folder.file)
        except OSError as error:  # it was readable a moment ago
            path = folder.prefix.rstrip("/") or "."
            yield FileEntry(path, Path(folder.file), _UNKNOWN, f"{UNREADABLE}: {error.strerror}")
            return
        safe_names = _make_names_safe(names)
        reasons = {
            name: reason
            for name in sorted(inner)
            if (reason := self._explain_closed_folder(folder, name)) is not None
        }
        inner -= reasons.keys()
        # "a/x" stands behind "a-b": a folder's place is that of what is in it.
        keys = {name: safe_names.get(name, name) + "/" * (name in inner) for name in names}
        for name in sorted(names, key=keys.__getitem__):
            file, path = Path(folder.file, name), folder.prefix + keys[name]
            if name in inner:
                yield _Folder(str(file), path, folder.linked or file.is_symlink())
            elif name not in reasons:
                yield _look_at(file, path, self._follow_links and name[0] != ".")
            elif reasons[name]:
                yield FileEntry(path, file, _UNKNOWN, reasons[name])

    def _read_names(self, folder: str) -> tuple[list[str], set[str]]:
        """Return the names in a folder, and those of them that are folders to walk."""
        names, inner = [], set()
        with os.scandir(folder) as entries:
            for entry in entries:
                names.append(entry.name)
                with suppress(OSError):  # a link to itself
                    if entry.name[0] != "." and entry.is_dir(follow_symlinks=self._follow_links):
                        inner.add(entry.name)
        return names, inner

    def _explain_closed_folder(self, outer: _Folder, name: str) -> str | None:
        """Return why a folder is not walked, "" where it is left out; else None, and note it."""
        file = Path(outer.file, name)
        if str(file) in self._without:
            return ""
        if self._follow_links and (outer.linked or file.is_symlink()):
            place = os.path.realpath(file)
            if self._root.is_relative_to(place):
                return f"{LINK} that leads back"
            if place in self._known:
                return self._known[place]
            self._known[place] = "listed elsewhere"
        try:
            os.scandir(file).close()
        except OSError as error:
            return f"{UNREADABLE}: {error.strerror}"
        return None


def _make_names_safe(names: Collection[str]) -> dict[str, str]:
    """Return the names of a folder that cannot stay as they are, with what they become.

    Names that need escapes come first: a literal %E9 beside the byte gives way.
    """
    if all(escape_path(name) == name for name in names):
        return {}
    by_safe_name: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (escape_path(name) == name, name)):
        safe = escape_path(name)
        while safe in by_safe_name:
            safe = safe.replace("%", "%25")
        by_safe_name[safe] = name
    return {name: safe for safe, name in by_safe_name.items() if safe != name}


def _look_at(file: Path, path: str, follow_link: bool) -> FileEntry:
    try:
        status = file.stat(follow_symlinks=follow_link)
    except OSError as error:
        leads_nowhere = follow_link and file.is_symlink()
        reason = (
            f"{LINK} that leads nowhere" if leads_nowhere else f"{UNREADABLE}: {error.strerror}"
        )
        return FileEntry(path, file, _UNKNOWN, reason)
    return FileEntry(
        path, file, read_file_state(status), _explain_closed(file.name, status.st_mode)
    )


def read_file_state(status: os.stat_result) -> tuple[int, int, int]:
    """Return the state of a file as `FileEntry.state` holds it."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def walk_store(root: Address, without: Collection[Address] = ()) -> Iterator[FileEntry]:
    """Yield all objects below an address, sorted by path; hidden ones are closed, as files are.

    Raises:
        OSError: There is no such bucket, or the store does not answer.
    """
    prefix = f"{root.key}/" if root.key else ""
    left_out = tuple(f"{address.key}/" for address in without if address.bucket == root.bucket)
    for found in walk_objects(root):
        if found.key.startswith(left_out):
            continue
        path = found.key.removeprefix(prefix)
        closed = "hidden" if any(part.startswith(".") for part in path.split("/")) else ""
        yield FileEntry(path, root / path, read_object_state(found), closed)


def read_object_state(found: StoredObject) -> tuple[int, int, int]:
    """Return the state of an object as `FileEntry.state` holds it."""
    return found.size, int(hash_bytes(found.version.encode())[:15], 16), 0


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
