"""The lock of an output in an object store: one holder alone, or several beside each other."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from bgexp.batch import store_lock as module
from bgexp.batch.store_lock import LOCKS, StoreLock
from bgexp.errors import UserError
from bgexp.system.folders import StoreFolder
from bgexp.system.signals import StopRequest


@pytest.fixture
def output(bucket, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.1)
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    return StoreFolder(bucket / "out")


@pytest.fixture
def _short_lived(monkeypatch):
    monkeypatch.setattr(module, "EXPIRY_S", 1.5)


def write_hold(output, name, **owner):
    owner = {"pid": 1, "host": "elsewhere", "plans": False, "beat": 1} | owner
    output.write(f"{LOCKS}/{name}.json", json.dumps(owner).encode())


def list_holds(output):
    return sorted(output.walk(LOCKS))


def test_who_holds_it_alone_is_named_to_others(output):
    with StoreLock(output, StopRequest()) as first, StoreLock(output, StopRequest()) as second:
        first.hold_alone()
        assert not second.try_to_hold(alone=True)
        assert not second.try_to_hold(alone=False)
        assert not second.is_held_to_plan()
        with pytest.raises(UserError, match=f"process {os.getpid()} on .* works there"):
            second.hold_alone()
    assert list_holds(output) == []


def test_several_hold_it_beside_each_other(output):
    with StoreLock(output, StopRequest()) as first, StoreLock(output, StopRequest()) as second:
        assert first.try_to_hold(alone=False)
        assert second.try_to_hold(alone=False)
        assert not first.try_to_hold(alone=True)  # which lets its own hold go
        assert len(list_holds(output)) == 1
        assert second.try_to_hold(alone=True, to_plan=True)
        assert first.is_held_to_plan()
        assert not first.try_to_hold(alone=False)
        assert second.try_to_hold(alone=False)
        assert first.try_to_hold(alone=False)


def test_of_many_at_the_same_time_one_holds_it_alone(output):
    locks = [StoreLock(output, StopRequest()) for _ in range(6)]
    barrier, held = threading.Barrier(6), []

    def hold(lock):
        barrier.wait()
        for _ in range(3):
            if lock.try_to_hold(alone=True):
                held.append(lock)
                return

    threads = [threading.Thread(target=hold, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) <= 1  # where they meet, all step back
    for lock in locks:
        lock.__exit__()


def test_a_dead_process_of_this_machine_holds_nothing(output):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                           capture_output=True, check=True)  # fmt: skip
    write_hold(output, "alone-00000007", pid=int(child.stdout), host=socket.gethostname())
    with StoreLock(output, StopRequest()) as lock:
        lock.hold_alone()
        assert list_holds(output) == ["alone-00000008.json"]


@pytest.mark.usefixtures("_short_lived")
@pytest.mark.parametrize("name", ["alone-00000001", "beside-ab", "stranger"])
def test_one_without_a_beat_holds_nothing_after_its_time(output, name):
    write_hold(output, name)
    start = time.monotonic()
    with StoreLock(output, StopRequest()) as lock:
        lock.hold_alone()
        assert time.monotonic() - start > module.EXPIRY_S
        (own,) = list_holds(output)
        assert own.startswith("alone-")


@pytest.mark.usefixtures("_short_lived")
def test_damaged_objects_of_others_hold_for_as_long(output):
    output.write(f"{LOCKS}/alone-00000001.json", b"[1")
    with StoreLock(output, StopRequest()) as lock:
        assert not lock.try_to_hold(alone=True)
        lock.hold_alone()


def test_a_hold_lives_as_long_as_its_process(output, monkeypatch):
    monkeypatch.setattr(module, "EXPIRY_S", 4.0)
    with StoreLock(output, StopRequest()) as first, StoreLock(output, StopRequest()) as second:
        first.hold_alone()
        end = time.monotonic() + 6
        while time.monotonic() < end:
            assert not second.try_to_hold(alone=True)
            time.sleep(0.1)


@pytest.mark.parametrize("how", ["deleted", "taken over"])
def test_a_hold_that_is_lost_stops_the_work(output, how):
    stop = StopRequest()
    with StoreLock(output, stop) as lock:
        lock.hold_alone()
        if how == "deleted":
            output.discard(f"{LOCKS}/alone-00000001.json")
        else:
            write_hold(output, "alone-00000002")
        end = time.monotonic() + 20
        while stop.exit_code is None and time.monotonic() < end:
            time.sleep(0.05)
        assert stop.exit_code == 1


def test_a_store_that_lets_two_create_one_object_is_refused(output, monkeypatch):
    monkeypatch.setattr(StoreFolder, "create", lambda self, name, data: self.write(name, data) or 1)
    with StoreLock(output, StopRequest()) as lock, pytest.raises(UserError, match="If-None-Match"):
        lock.hold_alone()
    assert list_holds(output) == []


def test_waiting_can_be_stopped(output):
    write_hold(output, "alone-00000001")
    stop = StopRequest(143)
    with StoreLock(output, stop) as lock, pytest.raises(BaseException, match="143"):
        lock.hold_alone()
