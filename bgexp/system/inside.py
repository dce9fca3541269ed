"""Files below a root folder whose names come from elsewhere: nothing outside of it is touched.

A name that leads out is refused, and on the way to the file no link is followed, not even one that
somebody makes meanwhile: each folder is opened in the one before it.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from bgexp.system.atomic import make_folder_in, name_errors, open_into
from bgexp.system.state_files import open_regular

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def is_inside(name: object) -> bool:
    """Return whether a name is a plain POSIX path that stays below its root.

    >>> [is_inside(name) for name in ("a/b.png", "/a", "a/../../b", "")]
    [True, False, False, False]
    """
    if not isinstance(name, str) or "\0" in name:
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _split(name: str) -> tuple[list[str], str]:
    """Return the folders on the way to a file, and its own name."""
    *folders, own_name = name.split("/")
    return folders, own_name


def write_inside(root: Path, name: str, data: bytes) -> None:
    """Write a file below the root with `write_whole`; missing folders are made.

    Raises:
        OSError: It could not be written, or the name leads out of the root.
    """
    with (
        name_errors(f"{root}/{name}"),
        _open_folder(root, name, make=True) as folder,
        open_into(folder, root / name) as file,
    ):
        file.write(data)


def open_inside(root: Path, name: str) -> BufferedReader:
    """Open a regular file below the root for reading.

    Raises:
        OSError: There is none, or it cannot be read.
    """
    with name_errors(f"{root}/{name}"), _open_folder(root, name) as folder:
        return _open_in(folder, _split(name)[1])


def append_inside(root: Path, name: str, data: bytes) -> None:
    """Append to a file below the root; the bytes are on disk when this returns.

    Raises:
        OSError: There is no such file, or it could not be written; it is as it was then.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
    with name_errors(f"{root}/{name}"):
        with _open_folder(root, name) as folder:
            file = os.open(_split(name)[1], flags, dir_fd=folder)
        try:
            size = os.fstat(file).st_size
            if os.write(file, data) != len(data):  # a full disk takes a part
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        finally:
            os.close(file)


def hash_inside(root: Path, name: str) -> str | None:
    """Return a file's SHA-256; None where there is no regular file of that name."""
    try:
        with _open_folder(root, name) as folder:
            return _hash_in(folder, _split(name)[1])
    except OSError:
        return None


def is_file_inside(root: Path, name: str) -> bool:
    """Return whether there is a regular file of that name; links on the way are not followed."""
    try:
        with _open_folder(root, name) as folder:
            status = os.stat(_split(name)[1], dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode)


def remove_inside(root: Path, name: str, sha256: str) -> bool:
    """Delete a file while it has this hash; return whether it was deleted."""
    try:
        with _open_folder(root, name) as folder:
            own = _split(name)[1]
            if _hash_in(folder, own) != sha256:
                return False
            os.unlink(own, dir_fd=folder)
            return True
    except OSError:
        return False


def _hash_in(folder: int, name: str) -> str:
    with _open_in(folder, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open_in(folder: int, name: str) -> BufferedReader:
    return open_regular(name, folder, os.O_NOFOLLOW)


@contextmanager
def _open_folder(root: Path, name: str, make: bool = False) -> Iterator[int]:
    """Yield a descriptor of the folder that a name is in, opened link by link."""
    if not is_inside(name):
        raise OSError(errno.EPERM, f"leads out of the folder: {name!r}")
    folder = os.open(root, _FOLDER & ~os.O_NOFOLLOW)  # the user's own choice, link or not
    try:
        for part in _split(name)[0]:
            if make:
                make_folder_in(folder, part)
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)
