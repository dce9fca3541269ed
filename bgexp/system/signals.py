"""Ctrl-C and SIGTERM as a request to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class StopRequest:
    """Whether the work is to end early; exit_code: 130 after Ctrl-C, 143 after SIGTERM."""

    exit_code: int | None = None


@contextmanager
def stopping() -> Iterator[StopRequest]:
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
