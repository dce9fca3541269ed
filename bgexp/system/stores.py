"""Object stores by `s3://`, `gs://` and `az://` addresses: one small interface over obstore.

Credentials, region and endpoint come from the environment alone, by the names that the stores' own
tools use. Errors are OSErrors of one line, as those of files are.
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, cast, overload

from pydantic import BeforeValidator, InstanceOf, PlainSerializer
from pydantic_core import PydanticCustomError

from bgexp.errors import UserError
from bgexp.system.terminal import make_printable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_ADDRESS = re.compile(r"(?:s3|gs|az)://[^/\s]+(?:/.*)?", re.DOTALL)
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
# A store that is started again has two minutes, as a tracking server has.
_RETRY: Mapping[str, Any] = {
    "max_retries": 100,
    "retry_timeout": timedelta(minutes=2),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
_ONCE: Mapping[str, Any] = {**_RETRY, "max_retries": 2}
_PIECE = 2**16  # bytes that are asked for at once where only a file's header is read


class Address(str):
    """The address of what lies in a store: an object, or all objects below it.

    Keys are taken as they are: `%`, `?` and `#` in them mean nothing.
    """

    __slots__ = ()

    @property
    def bucket(self) -> str:
        """Return the address of the bucket, or Azure's container."""
        scheme, _, rest = self.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    @property
    def key(self) -> str:
        """Return the key below the bucket; "" for the bucket itself."""
        return self.partition("://")[2].partition("/")[2].strip("/")

    @property
    def name(self) -> str:
        """Return the last part of the key, or the bucket's name."""
        return self.rstrip("/").rpartition("/")[2]

    @property
    def parents(self) -> "tuple[PurePosixPath, ...]":
        """Return what it lies in, to compare places by."""
        return tuple(PurePosixPath(self).parents)

    def __truediv__(self, name: str) -> "Address":
        return Address(f"{self.rstrip('/')}/{name}")


class StoreError(OSError):
    """A store that gives no answer or refuses: no fault of one object's."""


@dataclass(frozen=True)
class StoredObject:
    """An object in a store, as a listing has it.

    Attributes:
        key: Below the bucket.
        size: In bytes.
        version: Its ETag, which differs once the object changes.
    """

    key: str
    size: int
    version: str


@overload
def read_place(value: str) -> "str | Address": ...


@overload
def read_place(value: object) -> object: ...


def read_place(value: object) -> object:
    """Return a text that names an object store as an address, and all else as it is.

    Raises:
        PydanticCustomError: It has a user or a password, which the environment alone may hold.

    >>> read_place("s3://photos/2024/"), read_place("photos")
    ('s3://photos/2024', 'photos')
    """
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        if re.search("[:@]", Address(value).bucket.partition("://")[2]):
            raise PydanticCustomError("credentials", "an address without credentials is needed")
        return Address(value.rstrip("/"))
    return value


def locate_recorded(place: object) -> Path | Address:
    """Return the path or address that a record names, which anyone may have changed.

    Raises:
        UserError: It names none.
    """
    try:
        found = read_place(place)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from error
    if not isinstance(found, str):
        raise UserError("a record names no place")
    return found if isinstance(found, Address) else Path(found)


Place = Annotated[
    Path | InstanceOf[Address],
    BeforeValidator(read_place),
    PlainSerializer(str, return_type=str),
]


def walk_objects(
    address: Address, after: str = "", *, patiently: bool = True
) -> Iterator[StoredObject]:
    """Yield all objects below an address, in the order of their keys, page by page.

    Args:
        address: A bucket or what is below it; an object of this very key is not among them.
        after: Only those with later keys.
        patiently: Whether a store that does not answer is tried again for minutes.

    Raises:
        OSError: There is no such bucket, the store does not answer, or it refuses.
    """
    import obstore

    with _translate_errors(address):
        store = _connect(address.bucket, patiently)
        pages = obstore.list(store, address.key or None, offset=after or None)
        for page in pages:
            for entry in page:
                if entry["path"] > after:  # not every store begins where it is told to
                    yield _describe(entry)


def find_object(address: Address, *, patiently: bool = True) -> StoredObject | None:
    """Return what is known of one object; None where there is none.

    Args:
        address: Of the object.
        patiently: As in `walk_objects`.

    Raises:
        OSError: As `walk_objects`.
    """
    import obstore

    try:
        with _translate_errors(address):
            return _describe(obstore.head(_connect(address.bucket, patiently), address.key))
    except FileNotFoundError:
        return None


def read_object(address: Address, limit: int | None = None) -> tuple[bytes, StoredObject]:
    """Return an object's bytes, and what is known of them.

    Raises:
        OSError: As `walk_objects`; FileNotFoundError where there is none; it has more bytes than
            the limit.
    """
    import obstore

    with _translate_errors(address):
        result = obstore.get(_connect(address.bucket), address.key)
        found = _describe(result.meta)
        if limit is not None and found.size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return bytes(result.bytes()), found


def open_object(address: Address, size: int, piece: int = _PIECE) -> BinaryIO:
    """Open an object for reading; of a large one only the pieces that are read are fetched.

    Args:
        address: Of the object.
        size: In bytes, as a listing has it.
        piece: Bytes that are fetched at once.
    """
    return BufferedReader(_ObjectReader(address, size), piece)


class _ObjectReader(RawIOBase):
    """An object that is read range by range; raises StoreError."""

    def __init__(self, address: Address, size: int) -> None:
        self._address, self._size, self._position = address, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = max(0, origins[whence] + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        import obstore

        start, end = self._position, min(self._position + len(buffer), self._size)
        if end <= start:
            return 0
        with _translate_errors(self._address):
            store = _connect(self._address.bucket)
            data = obstore.get_range(store, self._address.key, start=start, end=end)
        buffer[: len(data)] = bytes(data)
        self._position += len(data)
        return len(data)


def write_object(address: Address, data: bytes | IO[bytes]) -> None:
    """Write an object, whole or not at all.

    Raises:
        OSError: As `walk_objects`.
    """
    import obstore

    with _translate_errors(address):
        obstore.put(_connect(address.bucket), address.key, data)


def create_object(address: Address, data: bytes) -> bool:
    """Write an object where there is none, and return whether it was written.

    Raises:
        OSError: As `walk_objects`.
    """
    import obstore
    from obstore.exceptions import AlreadyExistsError

    with _translate_errors(address):
        try:
            obstore.put(_connect(address.bucket), address.key, data, mode="create")
        except AlreadyExistsError:
            return False
    return True


def delete_object(address: Address) -> None:
    """Delete an object; one that is not there is none to delete.

    Raises:
        OSError: As `walk_objects`.
    """
    import obstore

    try:
        with _translate_errors(address):
            obstore.delete(_connect(address.bucket), address.key)
    except FileNotFoundError:
        return


@contextmanager
def spool_object(address: Address) -> Iterator[BinaryIO]:
    """Open a temporary file whose content is written to the address at the end, all or nothing."""
    with TemporaryFile() as file:
        yield cast("BinaryIO", file)
        file.seek(0)
        write_object(address, file)


@lru_cache
def _connect_once(bucket: str, patiently: bool, _process: int) -> "ObjectStore":
    from obstore.store import from_url

    retry: Any = _RETRY if patiently else _ONCE
    # Some that speak S3 delete one object at a time only.
    config: Any = {"aws_disable_bulk_delete": "true"} if bucket.startswith("s3:") else {}
    return from_url(bucket, config=config, retry_config=retry)


def forget_stores() -> None:
    """Connect anew, as the environment says by then."""
    _connect_once.cache_clear()


def _connect(bucket: str, patiently: bool = True) -> "ObjectStore":
    return _connect_once(bucket, patiently, os.getpid())


def _describe(entry: Mapping[str, Any]) -> StoredObject:
    version = (entry["e_tag"] or str(entry["last_modified"])).strip('"')  # in listings, bare
    return StoredObject(entry["path"], entry["size"], version)


@contextmanager
def _translate_errors(address: Address) -> Iterator[None]:
    """Raise what obstore raises as an OSError with a line; no credential is in it."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        text = str(error)
        if "NoSuchBucket" in text or "ContainerNotFound" in text:
            raise StoreError(errno.ENOENT, "no such bucket", address) from error
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, "no such object", address) from error
        raise StoreError(_find_number(error), _explain(text), address) from error


def _find_number(error: Exception) -> int:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    refusals = PermissionDeniedError, UnauthenticatedError, PermissionError
    return errno.EACCES if isinstance(error, refusals) else errno.EIO


def _explain(text: str) -> str:
    """Return what a store, or obstore, says in one line."""
    if match := _MESSAGE.search(text):
        return " ".join(match[1].split())[:200]
    line = " ".join(text.partition("Debug source")[0].split())
    if "error sending request" in line:
        return "the store does not answer"
    if "necessary privileges" in line:  # a refusal without words
        return "the store refuses"
    if "169.254.169.254" in line:
        return "no credentials in the environment"
    return make_printable(line.removeprefix("Generic ")[:200])
