"""Standard output that may be closed, full or of few characters, and ends no work."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class StandardOutput(io.RawIOBase):
    """A file that takes everything; after an error it writes no more.

    Attributes:
        error: What went wrong, but for a reader that has gone, as `head` does.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._broken = False
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the file's number."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:  # noqa: ANN401
        """Write bytes; return how many it took."""
        if not self._broken:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self._broken = True
                self.error = None if error.errno == errno.EPIPE else error
        return len(data)


@contextmanager
def keep_standard_output() -> Iterator[StandardOutput]:
    """Let prints end no work; characters that the encoding lacks are escaped."""
    before = sys.stdout
    output = StandardOutput(-1 if before is None else before.fileno())
    if before is None:  # it was closed from the start
        yield output
        return
    before.flush()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        before.encoding,
        "backslashreplace",
        line_buffering=output.isatty(),
    )
    try:
        yield output
    finally:
        sys.stdout.flush()


@contextmanager
def print_to_standard_error() -> Iterator[None]:
    """Send what this process and those that it starts print meanwhile to standard error."""
    before = sys.stdout
    if before is None:  # it was closed from the start
        yield
        return
    before.flush()
    copy = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = before
        os.dup2(copy, 1)
        os.close(copy)
