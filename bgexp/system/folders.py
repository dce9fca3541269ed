"""A folder that results are kept in, on a file system or in an object store, by one interface.

Names are POSIX and relative to it. They may come from a file that somebody else wrote: one that
leads out of the folder is refused.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

from bgexp.system.atomic import make_folder, open_whole
from bgexp.system.inside import (
    append_inside,
    hash_inside,
    is_file_inside,
    is_inside,
    open_inside,
    remove_inside,
    write_inside,
)
from bgexp.system.state_files import read_at_most
from bgexp.system.stores import (
    Address,
    create_object,
    delete_object,
    find_object,
    read_object,
    spool_object,
    walk_objects,
    write_object,
)


class Folder(Protocol):
    """Files by their names; `str` of it is its path or its address."""

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        ...

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return the bytes of a file, or raise OSError, as where they are more than a limit."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, or raise OSError."""
        ...

    def open_whole(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for writing piece by piece; it is there, whole, at the end."""
        ...

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading, with seeks, or raise OSError."""
        ...

    def read_end(self, name: str, size: int) -> bytes:
        """Return the last bytes of a file, or raise OSError."""
        ...

    def holds(self, names: Collection[str]) -> bool:
        """Return whether all these files are there."""
        ...

    def hash(self, name: str) -> str | None:
        """Return a file's SHA-256; None where there is none."""
        ...

    def remove(self, name: str, sha256: str) -> bool:
        """Delete a file while it has this hash; return whether it was deleted."""
        ...

    def discard(self, name: str) -> None:
        """Delete a file, or a folder with all in it, whatever is in it; it may be gone already."""
        ...

    def list_folders(self, name: str) -> list[str]:
        """Return the names of the folders in a folder."""
        ...

    def has_files(self, name: str) -> bool:
        """Return whether there is any file below a folder."""
        ...

    def walk(self, name: str = "") -> Iterator[str]:
        """Yield the names of all below a folder but folders, relative to it; "": of everything."""
        ...


def locate_error(folder: Folder, error: OSError) -> str:
    """Return the file that an error is about; the folder, where that is not known."""
    name = error.filename2 or error.filename
    if isinstance(folder, LocalFolder) and isinstance(name, str | bytes):
        return str(folder.path / os.fsdecode(name))
    return str(folder)


@dataclass(frozen=True)
class LocalFolder:
    """A folder of a file system; on the way to a file in it no link is followed.

    Attributes:
        path: Absolute.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Return the last part of its path."""
        return self.path.name

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return the bytes of a file."""
        with open_inside(self.path, name) as file:
            return file.read() if limit is None else read_at_most(file, limit)

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        make_folder(self.path)
        write_inside(self.path, name, data)

    def append(self, name: str, data: bytes) -> None:
        """Append to a file that is there; the bytes are on disk when this returns."""
        append_inside(self.path, name, data)

    def open_whole(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for writing piece by piece."""
        return open_whole(self.path / name)

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading."""
        return open_inside(self.path, name)

    def read_end(self, name: str, size: int) -> bytes:
        """Return the last bytes of a file."""
        with open_inside(self.path, name) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            return file.read()

    def holds(self, names: Collection[str]) -> bool:
        """Return whether all these files are there, none of them a link."""
        return all(is_file_inside(self.path, name) for name in names)

    def hash(self, name: str) -> str | None:
        """Return a file's SHA-256."""
        return hash_inside(self.path, name)

    def remove(self, name: str, sha256: str) -> bool:
        """Delete a file while it has this hash."""
        return remove_inside(self.path, name, sha256)

    def discard(self, name: str) -> None:
        """Delete a file or a folder."""
        path = self.path / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def list_folders(self, name: str) -> list[str]:
        """Return the names of the folders in a folder; links are none."""
        try:
            with os.scandir(self.path / name) as entries:
                return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def has_files(self, name: str) -> bool:
        """Return whether there is any file below a folder."""
        return any(path.is_file() for path in (self.path / name).rglob("*"))

    def walk(self, name: str = "") -> Iterator[str]:
        """Yield the names of all below a folder but folders; links are not followed."""
        root = self.path / name
        for folder, inner, names in os.walk(root):
            links = [name for name in inner if Path(folder, name).is_symlink()]
            prefix = "" if folder == str(root) else f"{os.path.relpath(folder, root)}/"
            yield from (prefix + own for own in (*names, *links))


@dataclass(frozen=True)
class StoreFolder:
    """What lies below an address of an object store.

    Attributes:
        address: Of a bucket, or of what is below it.
    """

    address: Address

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """Return the last part of its address."""
        return self.address.name

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return the bytes of an object."""
        return read_object(self._locate(name), limit)[0]

    def write(self, name: str, data: bytes) -> None:
        """Write an object whole or not at all."""
        write_object(self._locate(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write an object where there is none, and return whether it was written."""
        return create_object(self._locate(name), data)

    def open_whole(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a temporary file that becomes the object at the end."""
        return spool_object(self._locate(name))

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open an object for reading; it is fetched whole."""
        return BytesIO(self.read(name))

    def read_end(self, name: str, size: int) -> bytes:
        """Return the last bytes of an object, which is fetched whole: journals are small."""
        return self.read(name)[-size:]

    def holds(self, names: Collection[str]) -> bool:
        """Return whether all these objects are there, by the listing of what lies about them."""
        single = [name for name in names if "/" not in name]
        inner = sorted(set(names) - set(single))
        if not all(find_object(self._locate(name)) for name in single):
            return False
        for folder, group in groupby(inner, key=lambda name: name.partition("/")[0]):
            wanted = sorted(self._locate(name).key for name in group)
            for found in walk_objects(self._locate(folder), after=wanted[0][:-1]):
                if found.key >= wanted[0]:
                    if found.key > wanted.pop(0):
                        return False
                    if not wanted:
                        break
            if wanted:
                return False
        return True

    def hash(self, name: str) -> str | None:
        """Return the SHA-256 of an object's bytes, which are fetched."""
        try:
            return hashlib.sha256(self.read(name)).hexdigest()
        except FileNotFoundError:
            return None

    def remove(self, name: str, sha256: str) -> bool:
        """Delete an object while it has this hash."""
        if self.hash(name) != sha256:
            return False
        delete_object(self._locate(name))
        return True

    def discard(self, name: str) -> None:
        """Delete an object, or all below it."""
        address = self._locate(name)
        if find_object(address):
            delete_object(address)
        for found in walk_objects(address):
            delete_object(Address(address.bucket) / found.key)

    def list_folders(self, name: str) -> list[str]:
        """Return the first parts of the names below a folder that have more parts."""
        parts = (inner.split("/") for inner in self.walk(name))
        return sorted({first for first, *rest in parts if rest})

    def has_files(self, name: str) -> bool:
        """Return whether there is any object below a folder."""
        return any(True for _ in self.walk(name))

    def walk(self, name: str = "") -> Iterator[str]:
        """Yield the names below a folder, relative to it."""
        address = self._locate(name) if name else self.address
        for found in walk_objects(address):
            yield found.key.removeprefix(f"{address.key}/")

    def _locate(self, name: str) -> Address:
        if not is_inside(name):
            raise OSError(errno.EPERM, f"leads out of the folder: {name!r}")
        return self.address / name


def open_folder(place: Path | Address) -> Folder:
    """Return the folder at an absolute path or an address; nothing is looked at yet."""
    return StoreFolder(place) if isinstance(place, Address) else LocalFolder(place)
