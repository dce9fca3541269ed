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
        if isinstance(error, OSError):
            self._tell(error)
        else:
            super().handleError(record)

    def close(self) -> None:
        """Close it; some disks tell only then that they did not take what was written."""
        try:
            super().close()
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if not self._is_told and sys.stderr:
            self._is_told = True
            with suppress(OSError):  # the terminal is gone, too
                reason = error.strerror or error
                print(f"{self.baseFilename}: {reason}: lines are missing", file=sys.stderr)
