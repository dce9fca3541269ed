"""Signals go to a process of its own: one too many would end the tests without a word."""

import subprocess
import sys
import threading

from bgexp.system.signals import catch_stop_signals

SCRIPT = """
import os, signal, time
from bgexp.system.signals import catch_stop_signals

before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
with catch_stop_signals() as stop:
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
        time.sleep(0.05)
        print(stop.exit_code)
print((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before)
"""


def test_a_signal_becomes_a_request_and_the_handlers_come_back():
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (process.stdout.split(), process.returncode) == (["143", "130", "True"], 0)


def test_another_thread_has_no_handlers_and_works_all_the_same():
    codes = []

    def work():
        with catch_stop_signals() as stop:
            codes.append(stop.exit_code)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [None]
