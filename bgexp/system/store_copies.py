"""Copies of what lies in object stores, for data that is read again and again.

They are in the user's cache folder, below `bgexp/stores`, in the store's own order. An object whose
size or ETag has changed is fetched again, and what the store no longer has is deleted.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from bgexp.errors import HaltedError, UserError
from bgexp.system.atomic import make_folder, write_whole
from bgexp.system.hashing import hash_bytes
from bgexp.system.inside import is_inside
from bgexp.system.progress import show_progress, tell
from bgexp.system.state_files import decode_json
from bgexp.system.stores import (
    Address,
    StoredObject,
    StoreError,
    find_object,
    read_object,
    walk_objects,
)

_Lister = Callable[[Address], Iterable[StoredObject]]

_THREADS = 16  # which wait for the store most of the time


def fetch_folder(place: Path | Address, key: str) -> Path:
    """Return a path as it is; of an address the folder with copies of all objects below it.

    Args:
        place: The path or address.
        key: The setting that names it, for error messages.

    Raises:
        UserError: There is nothing at the address, the store refuses, or a copy cannot be written.
    """
    if isinstance(place, Path):
        return place
    return _fetch(place, key, walk_objects)


def fetch_file(place: Path | Address, key: str) -> Path:
    """Return a path as it is; of an address the path of a copy of that object.

    Raises:
        UserError: As `fetch_folder`.
    """
    if isinstance(place, Path):
        return place
    return _fetch(place, key, _list_one)


def explain_missing(address: Address) -> str:
    """Return why nothing is found at an address; "" where something is. It takes no minutes."""
    try:
        if address.key and find_object(address, patiently=False):
            return ""
        if any(True for _ in walk_objects(address, patiently=False)):
            return ""
    except OSError as error:
        return str(error.strerror)
    return "nothing is there"


@dataclass(frozen=True)
class _Copies:
    """The copies of the objects of a bucket, and what is known of those below one address."""

    root: Path
    index: Path

    def locate(self, found: StoredObject) -> Path:
        """Return the path of an object's copy."""
        if not is_inside(found.key):
            raise UserError(f"the name of an object leads out of its folder: {found.key!r}")
        return self.root / found.key

    def read_versions(self) -> dict[str, list[object]]:
        """Return size and version of the copies by key."""
        with suppress(OSError, ValueError, TypeError):
            return dict(decode_json(self.index.read_bytes()))
        return {}

    def is_current(self, found: StoredObject, versions: Mapping[str, object]) -> bool:
        """Return whether there is a copy of the object as it is now."""
        with suppress(OSError):
            is_whole = self.locate(found).stat().st_size == found.size
            return is_whole and versions.get(found.key) == [found.size, found.version]
        return False


def _fetch(address: Address, key: str, list_objects: _Lister) -> Path:
    folder = user_cache_path("bgexp") / "stores"
    bucket = folder / address.bucket.replace("://", "/")
    copies = _Copies(bucket, folder / "index" / f"{hash_bytes(address.encode())[:32]}.json")
    try:
        make_folder(copies.index.parent)
        with FileLock(copies.index.with_suffix(".lock")):
            objects = list(list_objects(address))
            if not objects:
                raise UserError(f"{key}: nothing is at {address}")
            _update(copies, Address(address.bucket), objects)
            path = bucket / address.key
            _delete_others(path, {copies.locate(found) for found in objects})
    except StoreError as error:
        raise UserError(f"{key}: {error.strerror}: {address}") from error
    except OSError as error:
        raise HaltedError(f"{key}: {error.filename}: {error.strerror}") from error
    return path


def _update(copies: _Copies, bucket: Address, objects: list[StoredObject]) -> None:
    """Fetch what is not there yet, or has changed; what is fetched stays after an interruption."""
    versions = copies.read_versions()
    missing = [found for found in objects if not copies.is_current(found, versions)]
    if not missing:
        return
    if len(missing) > 1:
        tell(f"{bucket}: {len(missing):,} objects are fetched into {copies.root}")

    def fetch(found: StoredObject) -> StoredObject:
        data, now = read_object(bucket / found.key)
        write_whole(copies.locate(found), data)
        return now

    try:
        with ThreadPoolExecutor(_THREADS) as pool, show_progress("objects", len(missing)) as step:
            for now in pool.map(fetch, missing):
                versions[now.key] = [now.size, now.version]
                step(0)
    finally:
        write_whole(copies.index, json.dumps(versions).encode())


def _delete_others(folder: Path, kept: set[Path]) -> None:
    """Delete copies of what the store no longer has."""
    for place, _, names in os.walk(folder):
        for name in names:
            if (path := Path(place, name)) not in kept:
                path.unlink()


def _list_one(address: Address) -> Iterable[StoredObject]:
    found = find_object(address)
    return [found] if found else []
