"""Standard output that is closed, full or of few characters."""

import errno
import os
import sys

import pytest

from bgexp.system.standard_output import keep_standard_output


@pytest.fixture
def print_to(monkeypatch):
    """Return a function that prints to a file by its number; it returns the error."""

    def run(descriptor, *lines, encoding="utf-8"):
        with open(descriptor, "w", encoding=encoding) as file:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdout", file)
            with keep_standard_output() as output:
                for line in lines:
                    print(line, flush=True)
            monkeypatch.undo()
            return output.error

    return run


def test_what_is_printed_arrives(print_to, tmp_path):
    path = tmp_path / "out"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    assert print_to(descriptor, "é", "caf\udce9", encoding="ascii") is None
    assert path.read_text() == "\\xe9\ncaf\\udce9\n"


def test_a_reader_that_has_gone_is_no_error(print_to):
    reader, writer = os.pipe()
    os.close(reader)
    assert print_to(writer, "a", "b") is None


def test_a_full_disk_is_told_and_ends_nothing(print_to):
    error = print_to(os.open("/dev/full", os.O_WRONLY), "a", "b")
    assert error.errno == errno.ENOSPC


def test_no_output_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with keep_standard_output() as output:
        print("nowhere")
    assert output.error is None
