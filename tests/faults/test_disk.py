"""The disk that forgets, by hand."""

import random
from pathlib import Path

import pytest

from tests.faults.calls import Call
from tests.faults.disk import Disk, read_state, write_state

ROOT = Path("/root-of-the-disk")


def replay(*calls):
    disk = Disk(Path("/nonexistent"))
    disk._root_path = ROOT
    for name, path, *rest in calls:
        other = ROOT / rest[0] if name in ("rename", "link") else ROOT
        data = rest[0] if name == "write" else b""
        disk.apply(
            Call("done", False, 0, name, ROOT / path, other, rest[1] if len(rest) > 1 else 0, data)
        )
    return disk


WRITTEN = [("create", "a.part"), ("write", "a.part", b"new"), ("sync", "a.part")]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (WRITTEN, {}),  # its name is not on disk
        ([*WRITTEN, ("sync", "")], {"a.part": b"new"}),
        ([*WRITTEN, ("rename", "a.part", "a")], {}),
        ([*WRITTEN, ("rename", "a.part", "a"), ("sync", "")], {"a": b"new"}),
        ([*WRITTEN[:2], ("sync", "")], {"a.part": b""}),
        ([("mkdir", "b"), ("create", "b/a"), ("sync", "b")], {}),
        ([("mkdir", "b"), ("create", "b/a"), ("sync", "b"), ("sync", "")], {"b": None, "b/a": b""}),
        ([*WRITTEN, ("sync", ""), ("unlink", "a.part")], {"a.part": b"new"}),
        ([*WRITTEN, ("sync", ""), ("link", "a.part", "c")], {"a.part": b"new"}),
        ([*WRITTEN, ("sync", ""), ("write", "a.part", b"x", 5)], {"a.part": b"new"}),
        (
            [*WRITTEN, ("sync", ""), ("write", "a.part", b"x", 5), ("sync", "a.part")],
            {"a.part": b"new\0\0x"},
        ),
    ],
)
def test_only_what_was_synced_is_sure_to_be_there(calls, expected):
    assert replay(*calls).read() == expected


def test_of_what_was_not_synced_any_part_may_be_there():
    calls = [*WRITTEN[:2], ("create", "b"), ("rename", "a.part", "a")]
    states = [replay(*calls).read(random.Random(seed)) for seed in range(300)]
    names = {tuple(sorted(state)) for state in states}
    # A rename is whole or not at all, and may be there without the file's first name.
    expected = {(), ("a.part",), ("a",), ("b",), ("a.part", "b"), ("a", "b")}
    assert names == expected
    contents = {state["a"] for state in states if "a" in state}
    assert {b"", b"new", b"\0\0\0"} < contents <= {b"", b"n", b"ne", b"new", b"\0\0\0"}


def test_a_state_is_written_as_it_was_read(tmp_path):
    state = {"a": None, "a/b": b"x", "c": b""}
    write_state(state, tmp_path / "disk")
    assert read_state(tmp_path / "disk") == state
