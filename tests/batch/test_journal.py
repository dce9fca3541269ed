import json
import os
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.batch import journal as module
from bgexp.batch.journal import Closing, Journal, JournalContent, Record
from bgexp.errors import UserError
from bgexp.system.folders import LocalFolder, StoreFolder
from bgexp.system.hashing import hash_bytes

FULL = Record(
    "cat/\u00e4\n\u2028\x85.jpg",
    "cat",
    "done",
    output="regular/cat/x.png",
    mask="masks/cat/x.png",
    alpha="alphas/a.png",
    kind="regular",
    quality_issues=("huge", "tiny"),
    missing_metadata=("make",),
    handling="padded to 96x96 pixels",
    input_sha256="01" * 32,
    output_sha256="23" * 32,
    mask_sha256="45" * 32,
    alpha_sha256="4" * 64,
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


def begin_journal(path, records=()):
    return Journal(LocalFolder(path.parent), path.name, records)


def read_journal(path):
    return module.read_journal(LocalFolder(path.parent), path.name)


def is_closed(path):
    return module.is_closed(LocalFolder(path.parent), path.name)


@pytest.fixture
def journal(tmp_path):
    """Write a journal with three records; return its path."""
    path = tmp_path / "journal"
    journal = begin_journal(path, RECORDS[:1])
    for record in RECORDS[1:]:
        journal.add(record)
    return path


def make_content(records=RECORDS, **values):
    return JournalContent({record.path: record for record in records}, **values)


def test_a_round_trip(journal):
    assert read_journal(journal) == make_content()
    assert all(getattr(FULL, field.name) not in ("", (), {}, 0, None) for field in fields(Record)
               if field.name != "reason")  # fmt: skip


def test_each_record_is_on_disk_before_the_next(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    path = tmp_path / "journal"
    journal = begin_journal(path)

    def note(descriptor):
        fsync(descriptor)
        synced.append(len(read_journal(path).records))

    monkeypatch.setattr(os, "fsync", note)
    for record in RECORDS:
        journal.add(record)
    assert synced == [1, 2, 3]


def test_of_two_records_the_last_one_counts(journal):
    later = Record("b.jpg", ".", "done")
    begin_journal(journal, [*RECORDS, later])
    assert read_journal(journal) == make_content([FULL, later, RECORDS[2]])


def test_results_under_other_names_are_remembered(journal):
    moved = replace(FULL, output="outliers/cat/x.png")
    done_again = replace(moved, width=41)
    begin_journal(journal, [FULL, moved, done_again])
    assert read_journal(journal) == make_content([done_again], superseded=[FULL])


def test_a_part_is_closed_while_nothing_follows(tmp_path):
    path, closing = tmp_path / "journal", Closing(2, 1.5, 3.25)
    journal = begin_journal(path, RECORDS)
    journal.add(closing)
    assert read_journal(path) == make_content(closing=closing)
    assert is_closed(path)
    journal.add(RECORDS[0])
    assert read_journal(path).closing is None
    assert not is_closed(path)
    journal.add(closing)
    path.write_bytes(path.read_bytes() + b"torn")
    assert read_journal(path) == make_content(damaged=1)
    assert not is_closed(path)
    assert not is_closed(tmp_path / "none")


def test_a_second_worker_takes_its_place_and_loses_nothing(tmp_path):
    first = begin_journal(tmp_path / "journal", RECORDS[:1])
    second = begin_journal(tmp_path / "journal", RECORDS[:1])
    first.add(RECORDS[1])
    second.add(RECORDS[2])
    assert read_journal(tmp_path / "journal") == make_content()


def test_no_journal_and_an_unreadable_one(tmp_path):
    assert read_journal(tmp_path / "none") == JournalContent()
    (tmp_path / "empty").touch()
    assert read_journal(tmp_path / "empty") == JournalContent()
    with pytest.raises(UserError, match=r"output: .*Is a directory"):
        read_journal(tmp_path)


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "regular/../x.png", "x.png", ".bgexp/lock"])
@pytest.mark.parametrize("field", ["output", "mask"])
def test_a_name_that_is_no_results_is_refused(tmp_path, field, name):
    begin_journal(tmp_path / "journal", [replace(FULL, **{field: name})])
    with pytest.raises(
        UserError,
        match=rf"^output: {tmp_path}/journal names '.*', which is no result in this folder: choose "
        r"another folder, or delete that file$",
    ):
        read_journal(tmp_path / "journal")


def test_a_journal_that_would_fill_the_memory(tmp_path, monkeypatch):
    begin_journal(tmp_path / "journal", RECORDS)
    monkeypatch.setattr("bgexp.batch.journal.MAX_STATE", 100)
    with pytest.raises(UserError, match=rf"^output: {tmp_path}/journal: "):
        read_journal(tmp_path / "journal")


# -- damage --------------------------------------------------------------------------------------


def test_cut_off_anywhere_only_whole_records_are_left(journal):
    data = journal.read_bytes()
    ends = [n + 1 for n, byte in enumerate(data) if byte == 0x0A]
    assert len(ends) == 3
    for length in range(len(data)):
        journal.write_bytes(data[:length])
        whole = sum(end <= length for end in ends)
        damaged = int(length not in (0, *ends))
        assert read_journal(journal) == make_content(RECORDS[:whole], damaged=damaged)


@pytest.mark.parametrize("bit", [0, 5])  # 5: an upper case letter becomes a lower case one
def test_a_flipped_bit_is_never_a_wrong_record(tmp_path, bit):
    path = tmp_path / "journal"
    short = [Record("a", ".", "done", coverage=0.5), Record("b", ".", "failed", "x")]
    begin_journal(path, short)
    data = path.read_bytes()
    starts = [0, *(n + 1 for n, byte in enumerate(data) if byte == 0x0A)]
    for position in range(len(data)):
        path.write_bytes(
            data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]
        )
        content = read_journal(path)
        assert content.damaged >= 1
        hit = sum(start <= position for start in starts) - 1
        lost = {hit, hit + 1} if data[position] == 0x0A else {hit}
        kept = [record for n, record in enumerate(short) if n not in lost]
        assert list(content.records.values()) == kept


def test_garbage_is_no_record(journal):
    good = journal.read_bytes()

    @settings(max_examples=50)
    @given(st.lists(st.binary(max_size=40), max_size=6))
    def check(lines):
        journal.write_bytes(good + b"\n".join(lines))
        content = read_journal(journal)
        assert content == make_content(damaged=content.damaged)

    check()


def test_a_line_of_another_version_is_no_record(journal):
    """Append lines with the right checksum, but fields that this version does not know."""
    for text in (b'{"path": "x", "colour": 1}', b"[]", b'{"category": "x"}', b"1"):
        append_line(journal, text)
    assert read_journal(journal) == make_content(damaged=4)


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
    assert read_journal(journal) == make_content(damaged=1)


@pytest.mark.parametrize("text", [b'{"newly_done": 1}', b'{"newly_done": "1"}', b'"x"', b"{}"])
def test_a_whole_line_of_another_shape_is_no_end(journal, text):
    append_line(journal, text)
    assert read_journal(journal) == make_content(damaged=1)


def append_line(journal, text):
    line = hash_bytes(text)[:16].encode() + b" " + text + b"\n"
    journal.write_bytes(journal.read_bytes() + line)


def test_nothing_is_appended_behind_a_torn_line(journal):
    journal.write_bytes(journal.read_bytes()[:-5])
    content = read_journal(journal)
    assert content.damaged == 1
    begin_journal(journal, content.records.values()).add(RECORDS[2])
    assert read_journal(journal) == make_content()
    assert journal.read_bytes().count(b"\n") == 3


def test_a_full_disk(journal, monkeypatch):
    write = os.write
    reopened = begin_journal(journal, RECORDS)
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:20]))
    with pytest.raises(OSError, match="No space left") as error:
        reopened.add(Record("d.jpg", ".", "done"))
    monkeypatch.undo()
    assert error.value.errno == 28
    assert read_journal(journal) == make_content()


def test_a_number_without_a_json_form_is_refused(journal):
    with pytest.raises(ValueError, match="JSON"):
        begin_journal(journal).add(Record("a", ".", "done", coverage=float("nan")))
    assert read_journal(journal) == JournalContent()


# -- in an object store --------------------------------------------------------------------------


def test_in_a_store_it_is_written_every_few_seconds_and_at_its_end(bucket, monkeypatch):
    folder, clock = StoreFolder(bucket), [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])

    def read_paths():
        return list(module.read_journal(folder, "journal").records)

    records = [Record(f"{n}.jpg", ".", "failed", "x") for n in range(6)]
    journal = Journal(folder, "journal", records[:1])
    assert read_paths() == ["0.jpg"]
    clock[0] = 5.0
    journal.add(records[1])
    assert read_paths() == ["0.jpg"]
    clock[0] = 5.5
    journal.add(records[2])
    assert read_paths() == ["0.jpg", "1.jpg", "2.jpg"]
    clock[0] = 10.5
    journal.add(records[3])
    assert len(read_paths()) == 3
    journal.flush()
    assert len(read_paths()) == 4
    clock[0] = 15.5
    journal.add(records[4])
    assert len(read_paths()) == 4
    journal.add(Closing(1, 2.0, 3.0))
    assert len(read_paths()) == 5
    assert module.read_journal(folder, "journal").closing == Closing(1, 2.0, 3.0)
    assert module.is_closed(folder, "journal")


def test_in_a_store_nothing_is_written_twice(bucket):
    folder = StoreFolder(bucket)
    journal = Journal(folder, "journal", RECORDS)
    folder.write("journal", b"another worker's")
    journal.flush()
    assert folder.read("journal") == b"another worker's"
