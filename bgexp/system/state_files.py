"""Files that bgexp wrote, read back as a stranger's: anyone may have changed them since.

A pipe in the place of one is not waited for, none takes more memory than the largest needs, and
JSON that is damaged in whatever way is a ValueError.
"""

import errno
import json
import os
import stat
from collections.abc import Iterable
from io import BufferedReader
from typing import Any

from pydantic import ValidationError

MAX_STATE = 2**26  # bytes; a sweep of 10,000 jobs has a third of that


def open_regular(
    path: str | os.PathLike[str], folder: int | None = None, flags: int = 0
) -> BufferedReader:
    """Open a regular file for reading; a pipe or a device is refused.

    Args:
        path: Its path, relative to the folder where one is given.
        folder: The open descriptor of a folder.
        flags: Further ones, as of `os.open`.

    Raises:
        OSError: There is none, or it cannot be read.
    """
    # Without O_NONBLOCK a pipe would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=folder)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def read_at_most(file: BufferedReader, limit: int) -> bytes:
    """Return all that a file holds.

    Raises:
        OSError: That is more than the limit, in bytes.
    """
    if os.fstat(file.fileno()).st_size > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return file.read()


def read_state(path: str | os.PathLike[str], limit: int = MAX_STATE) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        OSError: There is none, it cannot be read, or it has more bytes than the limit.
    """
    with open_regular(path) as file:
        return read_at_most(file, limit)


def decode_json(data: bytes) -> Any:  # noqa: ANN401
    """Return what strict JSON says.

    Raises:
        ValueError: It is damaged, nested too deeply, or says two things by one key.
    """
    try:
        return json.loads(
            data, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def explain_first(error: ValidationError) -> str:
    """Return the first thing that is wrong with content that was checked, and where."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "all"
    return f"{place}: {first['msg'].partition(' or instance of')[0]}"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _refuse_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; json itself would take the last of several equal keys."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"{key!r} stands there twice")
        content[key] = value
    return content
