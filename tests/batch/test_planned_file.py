"""Planned files that were written by someone else, checksums and all: whole, or damaged."""

from dataclasses import asdict

import pytest

from bgexp.batch.planned_file import PlannedFile, decode_planned_files, encode_planned_files
from bgexp.system.checked_lines import encode_line
from bgexp.system.hashing import hash_bytes

FILE = PlannedFile("a/ä.jpg", "/in/a%FF.jpg", (9, 1, 2), issues=("huge",), missing=("make",))


def test_what_was_written_is_read():
    files = [FILE, PlannedFile("b.jpg", "s3://bucket/b.jpg", (1, 2, 3), reason="a link")]
    assert decode_planned_files(encode_planned_files(files)) == files
    assert decode_planned_files(b"") == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", {"a": 1}),
        ("path", None),
        ("address", None),
        ("address", "s3://user:password@bucket/a.jpg"),
        ("state", [1, 2]),
        ("state", "123"),
        ("reason", 1e308),
        ("width", "8"),
        ("output", ["a"]),
        ("issues", "huge"),
        ("issues", [[]]),
        ("unknown", 1),
    ],
)
def test_other_types_are_damage(key, value):
    assert decode_planned_files(encode_line(asdict(FILE) | {key: value})) is None


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"\xff": 1}', b"[]", b"null", b"NaN", b""])
def test_other_json_is_damage(text):
    line = hash_bytes(text)[:16].encode() + b" " + text + b"\n"
    assert decode_planned_files(line) is None
