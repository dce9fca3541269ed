"""Files written whole or not at all, and the hashes that name what is in them."""

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from typing_extensions import Buffer

# A killed process may leave such a file: whoever owns the folder may delete it.
TEMPORARY = ".bgexp-*.part"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_on_disk: set[tuple[int, int, str]] = set()  # folders whose names are: device and inode, name


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it that are missing; after a power cut they are there.

    One that is there already may be of a process that was killed before its name was on disk.
    Folders above one that others own are not this user's to have made.

    Raises:
        OSError: It could not be made.
    """
    path = Path(os.path.realpath(path))
    is_there = path.is_dir()
    if path == path.parent or (is_there and os.path.ismount(path)):
        return
    if is_there and not os.access(path.parent, os.R_OK | os.W_OK):
        return
    make_folder(path.parent)
    outer = os.open(path.parent, _FOLDER)
    try:
        with name_errors(path):
            make_folder_in(outer, path.name)
    finally:
        os.close(outer)


def make_folder_in(outer: int, name: str) -> None:
    """Make a folder, as `make_folder` does, in one that is given by its open descriptor."""
    status = os.fstat(outer)
    key = status.st_dev, status.st_ino, name
    try:
        os.mkdir(name, dir_fd=outer)
    except FileExistsError:
        if key in _on_disk:
            return
    _sync_folder(outer)
    _on_disk.add(key)


def _sync_folder(descriptor: int) -> None:
    """Bring the names in a folder to disk; some network file systems cannot, and say so."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise


def sync_tree(path: Path) -> None:
    """Bring all files below a folder to disk, with the folder's name; such as a library wrote them.

    Raises:
        OSError: Something of it could not be brought there.
    """
    for folder, _, names in os.walk(path):
        make_folder(folder)
        for place in (*(Path(folder, name) for name in names), Path(folder)):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                sync = _sync_folder if place == Path(folder) else os.fsync
                with name_errors(place):
                    sync(descriptor)
            finally:
                os.close(descriptor)


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, whenever the process dies, the old file or the new one is there whole.

    Missing parent folders are made. The bytes are on disk when this returns.

    Raises:
        OSError: It could not be written; no temporary file is left. Only where the very last step,
            the folder's fsync, fails does the path hold the new file.
    """
    with open_whole(path) as file:
        file.write(data)


@contextmanager
def open_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing piece by piece; it is there whole, as by `write_whole`, at the end.

    Raises:
        OSError: As in `write_whole`. Where the body raises, nothing is written either.
    """
    path = Path(path)
    make_folder(path.parent)
    folder = os.open(path.parent, _FOLDER)
    try:
        with open_into(folder, path) as file:
            yield file
    finally:
        os.close(folder)


@contextmanager
def open_into(folder: int, path: Path) -> Iterator[BinaryIO]:
    """Open a file as `open_whole` does, in its folder, which is given by its open descriptor."""
    # Not derived from the target's name, which may already be as long as a name can be.
    temporary = TEMPORARY.replace("*", secrets.token_hex(8))
    try:
        with name_errors(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            descriptor = os.open(temporary, flags, 0o666, dir_fd=folder)
        with BufferedWriter(_NamedFile(descriptor, path)) as file:
            yield file
            file.flush()
            with name_errors(path):
                os.fsync(descriptor)
        with name_errors(path):
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    with name_errors(path):
        _sync_folder(folder)  # a rename survives a power cut only then


class _NamedFile(FileIO):
    """A file whose errors tell the path that it will have."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: "Buffer") -> int:
        with name_errors(self._path):
            return super().write(data)


@contextmanager
def name_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let errors tell this path: the system was given a descriptor, or a name in an open folder."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and not Path(str(error.filename or "")).is_absolute():
            error.filename = os.fspath(path)
            del error.filename2  # None would be told as a name
        raise


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """Write strict JSON with `write_whole`: keys in their order, NaN and infinities as null.

    Raises:
        TypeError: Something in `obj` has no JSON form.
        OSError: As in `write_whole`.
    """
    write_whole(path, encode_json(obj))


def encode_json(obj: object) -> bytes:
    """Return strict JSON as `write_json` writes it."""
    text = json.dumps(_replace_non_finite(obj), indent=2)
    return f"{text}\n".encode()


def _replace_non_finite(obj: object) -> object:
    """Return the same structure with None for every float that JSON cannot express."""
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, dict):
        return {key: _replace_non_finite(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_replace_non_finite(value) for value in obj]
    return obj
