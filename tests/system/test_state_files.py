"""Files of a state as an attacker leaves them: one of two errors, at once and in little memory."""

import os

import pytest

from bgexp.system.state_files import MAX_STATE, decode_json, open_regular, read_state


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 1000,
        b" " * 1_000_000,
        b'{"a": 1',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"1" * 5000,
        b"NaN",
        b'{"a": [-Infinity]}',
        b'{"a": 1, "b": {"a": 2, "a": 2}}',
    ],
    ids=lambda data: data[:20].decode(errors="replace").replace("\0", "0"),
)
def test_damaged_json(data):
    with pytest.raises(ValueError, match=r"."):
        decode_json(data)


def test_json_is_read():
    assert decode_json(b'\xef\xbb\xbf{"a": [1, null, "\\u00e4"]}') == {"a": [1, None, "ä"]}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(OSError, match="not a regular file"):
            open_regular(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "loop")


def test_a_file_that_would_fill_the_memory(tmp_path):
    with (tmp_path / "state.json").open("wb") as file:
        file.truncate(MAX_STATE + 1)
    with pytest.raises(OSError, match="File too large"):
        read_state(tmp_path / "state.json")
    os.truncate(tmp_path / "state.json", 10)
    assert read_state(tmp_path / "state.json", 10) == b"\0" * 10
