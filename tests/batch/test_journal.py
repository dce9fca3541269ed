import json
import os
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.batch.journal import Journal, Record, read_journal
from bgexp.errors import UserError
from bgexp.system.hashing import hash_bytes

IDENTITY = {"settings": "ab" * 32, "weights": "cd" * 32, "input": "/a/\u00e9\u2028\n", "n": 3}
FULL = Record(
    "cat/\u00e4\n\u2028\x85.jpg",
    "cat",
    "done",
    output="regular/cat/x.png",
    mask="masks/cat/x.png",
    kind="regular",
    quality_issues=("huge", "tiny"),
    missing_metadata=("make",),
    handling="padded to 96x96 pixels",
    input_sha256="01" * 32,
    output_sha256="23" * 32,
    mask_sha256="45" * 32,
    settings_hash="67" * 32,
    weights_sha256="89" * 32,
    model_name="demo",
    model_version="1",
    width=40,
    height=30,
    coverage=0.1 + 0.2,
    confidence=1 / 3,
    flags=("low_confidence",),
    timings_ms={"load": 0.1, "detect": 100.25},
    memory=2**33,
)
RECORDS = [FULL, Record("b.jpg", ".", "failed", "x"), Record("c", ".", "skipped", "not an image")]


@pytest.fixture
def journal(tmp_path):
    """Write a journal with three records; return its path."""
    path = tmp_path / "journal"
    with Journal(path, IDENTITY, RECORDS[:1]) as open_journal:
        for record in RECORDS[1:]:
            open_journal.add(record)
    return path


def test_a_round_trip(journal):
    records = {record.path: record for record in RECORDS}
    assert read_journal(journal) == (IDENTITY, records, 0)
    assert all(getattr(FULL, field.name) not in ("", (), {}, 0, None) for field in fields(Record)
               if field.name != "reason")  # fmt: skip


def test_each_record_is_on_disk_before_the_next(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    path = tmp_path / "journal"
    with Journal(path, IDENTITY, []) as journal:

        def note(descriptor):
            fsync(descriptor)
            synced.append(len(read_journal(path)[1]))

        monkeypatch.setattr(os, "fsync", note)
        for record in RECORDS:
            journal.add(record)
    assert synced == [1, 2, 3]


def test_of_two_records_the_last_one_counts(tmp_path):
    later = Record("b.jpg", ".", "done")
    with Journal(tmp_path / "journal", {}, RECORDS) as journal:
        journal.add(later)
    identity, records, damaged = read_journal(tmp_path / "journal")
    assert (identity, records["b.jpg"], len(records), damaged) == ({}, later, 3, 0)


def test_no_journal_and_an_unreadable_one(tmp_path):
    assert read_journal(tmp_path / "none") == (None, {}, 0)
    (tmp_path / "empty").touch()
    assert read_journal(tmp_path / "empty") == (None, {}, 0)
    with pytest.raises(UserError, match=r"output: .*Is a directory"):
        read_journal(tmp_path)


# -- damage --------------------------------------------------------------------------------------


def test_cut_off_anywhere_only_whole_records_are_left(journal):
    data = journal.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == 0x0A]
    assert len(ends) == 4
    for length in range(len(data)):
        journal.write_bytes(data[:length])
        identity, records, damaged = read_journal(journal)
        whole = sum(end <= length for end in ends)
        assert identity == (IDENTITY if whole else None)
        assert list(records.values()) == RECORDS[: max(0, whole - 1)]
        assert damaged == (length not in (0, *ends))


@pytest.mark.parametrize("bit", [0, 5])  # 5: an upper case letter becomes a lower case one
def test_a_flipped_bit_is_never_a_wrong_record(tmp_path, bit):
    path = tmp_path / "journal"
    short = [Record("a", ".", "done", coverage=0.5), Record("b", ".", "failed", "x")]
    Journal(path, {"n": 1}, short).__exit__()
    data = path.read_bytes()
    starts = [0, *(n + 1 for n, byte in enumerate(data) if byte == 0x0A)]
    for position in range(len(data)):
        path.write_bytes(
            data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
        )
        identity, records, damaged = read_journal(path)
        assert damaged >= 1
        assert identity in (None, {"n": 1})
        assert all(record in short for record in records.values())
        hit = sum(end <= position for end in starts) - 1
        lost = {hit, hit + 1} if data[position] == 0x0A else {hit}
        assert (identity is None) == (0 in lost)
        assert {record.path for record in records.values()} == {
            record.path for n, record in enumerate(short, 1) if n not in lost
        }


def test_garbage_is_no_record(journal):
    good = journal.read_bytes()

    @settings(max_examples=50)
    @given(st.lists(st.binary(max_size=40), max_size=6))
    def check(lines):
        journal.write_bytes(good + b"\n".join(lines))
        identity, records, _ = read_journal(journal)
        assert (identity, list(records.values())) == (IDENTITY, RECORDS)

    check()


def test_a_line_of_another_version_is_no_record(journal):
    """Append lines with the right checksum, but fields that this version does not know."""
    for text in (b'{"path": "x", "colour": 1}', b"[]", b'{"category": "x"}', b"1"):
        line = hash_bytes(text)[:16].encode() + b" " + text + b"\n"
        journal.write_bytes(journal.read_bytes() + line)
    _, records, damaged = read_journal(journal)
    assert (list(records.values()), damaged) == (RECORDS, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"path": 5},
        {"path": ["x"]},
        {"status": "perhaps"},
        {"width": "7"},
        {"flags": "unsure"},
        {"flags": [1]},
        {"timings_ms": [1]},
        {"timings_ms": {"read": "quick"}},
        {"coverage": "half"},
        {"reason": None},
    ],
    ids=str,
)
def test_a_whole_line_of_other_types_is_no_record(journal, change):
    text = json.dumps({"path": "x", "category": "", "status": "done", **change}).encode()
    append_line(journal, text)
    assert read_journal(journal) == (IDENTITY, {r.path: r for r in RECORDS}, 1)


@pytest.mark.parametrize("text", [b'{"batch": []}', b'{"batch": [["a", 1]]}', b'"batch"', b"{}"])
def test_a_whole_line_of_another_shape_is_no_identity(journal, text):
    append_line(journal, text)
    assert read_journal(journal) == (IDENTITY, {r.path: r for r in RECORDS}, 1)


def append_line(journal, text):
    line = hash_bytes(text)[:16].encode() + b" " + text + b"\n"
    journal.write_bytes(journal.read_bytes() + line)


def test_nothing_is_appended_behind_a_torn_line(journal):
    journal.write_bytes(journal.read_bytes()[:-5])
    identity, records, damaged = read_journal(journal)
    assert damaged == 1
    with Journal(journal, identity, records.values()) as reopened:
        reopened.add(RECORDS[2])
    assert read_journal(journal) == (IDENTITY, {record.path: record for record in RECORDS}, 0)
    assert journal.read_bytes().count(b"\n") == 4


def test_a_full_disk(journal, monkeypatch):
    identity, records, _ = read_journal(journal)
    write = os.write
    with Journal(journal, identity, records.values()) as reopened:
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
        with pytest.raises(OSError, match="No space left") as error:
            reopened.add(Record("d.jpg", ".", "done"))
        monkeypatch.undo()
    assert error.value.errno == 28
    assert read_journal(journal) == (IDENTITY, {record.path: record for record in RECORDS}, 0)


def test_a_number_without_a_json_form_is_refused(journal):
    with Journal(journal, IDENTITY, []) as reopened, pytest.raises(ValueError, match="JSON"):
        reopened.add(Record("a", ".", "done", coverage=float("nan")))
    assert read_journal(journal) == (IDENTITY, {}, 0)
