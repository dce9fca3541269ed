"""Memory that two processes see, for arrays too large for the pipe between them.

Ten megabytes of a picture through a pipe keep both its ends busy for longer than its stages do. The
memory has no name, so nothing of it is left, however the processes end.
"""

import mmap
import os
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle

import numpy as np
from numpy.typing import NDArray


def allocate(connection: Connection, size: int) -> NDArray[np.float32]:
    """New memory for so many float32, shared with the other end, which calls `attach`."""
    file = _nameless_file()
    try:
        os.ftruncate(file, size * np.dtype(np.float32).itemsize)
        send_handle(connection, file, os.getppid())
        return _mapped(file)
    finally:
        os.close(file)


def attach(connection: Connection) -> NDArray[np.float32]:
    """The memory that the other end lends.

    Raises:
        EOFError: It is gone.
        OSError: This process has too many files open.
    """
    try:
        file = recv_handle(connection)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    try:
        return _mapped(file)
    finally:
        os.close(file)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bgexp")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _mapped(file: int) -> NDArray[np.float32]:
    """It is unmapped when the last array of it goes."""
    return np.frombuffer(mmap.mmap(file, 0), np.float32)
