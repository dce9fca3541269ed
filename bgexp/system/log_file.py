"""A log's file on a disk that may fail: that is told in a line, and the work goes on."""

import logging
import sys
from contextlib import suppress


class LogFile(logging.FileHandler):
    """A log's file; where it takes no more lines, one on the terminal says so."""

    _is_told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        """Tell the first error of the disk; logging itself prints a traceback for each line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_told:
            self._is_told = True
            print(f"{self.baseFilename}: {error.strerror}: lines are missing", file=sys.stderr)

    def close(self) -> None:
        """Close it; what the disk did not take was told."""
        with suppress(OSError):
            super().close()
