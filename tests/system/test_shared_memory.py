"""Memory shared by two processes."""

import mmap
import os
import tempfile
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from bgexp.system.shared_memory import allocate, attach
from bgexp.system.workers import CONTEXT


def double(connection):
    numbers = attach(connection)
    connection.recv()
    numbers *= 2
    connection.send(len(numbers))


def test_each_sees_what_the_other_writes():
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=double, args=(theirs,))
    process.start()
    numbers = allocate(ours, 5)
    np.testing.assert_array_equal(numbers, np.zeros(5, np.float32))
    numbers[:] = range(5)
    ours.send(None)
    assert ours.recv() == 5
    np.testing.assert_array_equal(numbers, [0, 2, 4, 6, 8])
    process.join()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("named", [True, False])
def test_nothing_stays_open_or_behind(monkeypatch, tmp_path, named):
    if not named:  # systems that have no files without a name
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ours, theirs = Pipe()
    before = open_files()
    lent = allocate(ours, mmap.PAGESIZE)
    borrowed = attach(theirs)
    borrowed[7] = 7
    assert lent[7] == 7
    del lent, borrowed
    assert open_files() == before
    assert not list(tmp_path.iterdir())


def test_a_lender_that_is_gone():
    ours, theirs = Pipe()
    ours.close()
    with pytest.raises((EOFError, OSError)):
        attach(theirs)
