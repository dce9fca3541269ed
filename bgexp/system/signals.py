"""Ctrl-C and SIGTERM as a request to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bgexp.errors import Interruption


@dataclass
class StopRequest:
    """A request to end early; exit_code: 130 after Ctrl-C, 143 after SIGTERM."""

    exit_code: int | None = None

    def raise_if_set(self) -> None:
        """Raise Interruption if the work is to end early."""
        if self.exit_code is not None:
            raise Interruption(self.exit_code)


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request to look at, in place of exceptions at any moment."""
    stop = StopRequest()

    def request_stop(number: int, _frame: object) -> None:
        stop.exit_code = 128 + number

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may have handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, request_stop) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
