"""Memory shared by two processes, for arrays too large for the pipe between them.

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
    """Allocate memory for `size` float32, shared with the other end, which calls `attach`."""
    file = _open_nameless_file()
    try:
        os.ftruncate(file, size * np.dtype(np.float32).itemsize)
        send_handle(connection, file, os.getppid())
        return _map_memory(file)
    finally:
        os.close(file)


def attach(connection: Connection) -> NDArray[np.float32]:
    """Return the memory that the other end lends.

    Raises:
        EOFError: It is gone.
        OSError: This process has too many files open.
    """
    try:
        file = recv_handle(connection)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    try:
        return _map_memory(file)
    finally:
        os.close(file)


def _open_nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bgexp")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _map_memory(file: int) -> NDArray[np.float32]:
    """Map a file into memory, until the last array of it goes."""
    return np.frombuffer(mmap.mmap(file, 0), np.float32)
