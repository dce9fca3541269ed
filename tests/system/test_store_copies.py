"""Copies of objects: as the store has them, and fetched only where they changed."""

from pathlib import Path

import pytest

from bgexp.errors import UserError
from bgexp.system import store_copies as module
from bgexp.system.store_copies import explain_missing, fetch_file, fetch_folder
from bgexp.system.stores import Address, delete_object, read_object, write_object


@pytest.fixture
def fetched(bucket, monkeypatch):
    """Three objects, and the list of the keys that are fetched from then on."""
    keys = []

    def read(address):
        keys.append(address.key.removeprefix(f"{bucket.key}/"))
        return read_object(address)

    monkeypatch.setattr(module, "read_object", read)
    for name in ("set/a.jpg", "set/b 1/c%20#.jpg", "set/b 1/d.jpg", "other.jpg"):
        write_object(bucket / name, name.encode())
    return keys


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_fetched_once_and_then_what_changed(bucket, fetched):
    folder = fetch_folder(bucket / "set", "dataset.root")
    assert tree(folder) == {name[4:]: name.encode() for name in fetched}
    assert sorted(fetched) == ["set/a.jpg", "set/b 1/c%20#.jpg", "set/b 1/d.jpg"]
    fetched.clear()
    assert fetch_folder(bucket / "set", "dataset.root") == folder
    assert fetched == []
    write_object(bucket / "set/a.jpg", b"set/A.jpg")  # of the same length
    delete_object(bucket / "set/b 1/d.jpg")
    fetch_folder(bucket / "set", "dataset.root")
    assert fetched == ["set/a.jpg"]
    assert tree(folder) == {"a.jpg": b"set/A.jpg", "b 1/c%20#.jpg": b"set/b 1/c%20#.jpg"}


def test_a_copy_that_was_damaged_is_fetched_again(bucket, fetched):
    folder = fetch_folder(bucket / "set", "dataset.root")
    (folder / "a.jpg").write_bytes(b"cut")
    (folder / "b 1/d.jpg").unlink()
    (folder / "stranger.jpg").touch()
    fetched.clear()
    fetch_folder(bucket / "set", "dataset.root")
    assert sorted(fetched) == ["set/a.jpg", "set/b 1/d.jpg"]
    assert len(tree(folder)) == 3


def test_an_interrupted_fetch_goes_on(bucket, fetched, monkeypatch):
    read = module.read_object

    def fail(address):
        if address.name == "d.jpg":
            raise KeyboardInterrupt
        return read(address)

    monkeypatch.setattr(module, "read_object", fail)
    with pytest.raises(KeyboardInterrupt):
        fetch_folder(bucket / "set", "dataset.root")
    monkeypatch.setattr(module, "read_object", read)
    before = list(fetched)
    fetch_folder(bucket / "set", "dataset.root")
    assert sorted(fetched) == ["set/a.jpg", "set/b 1/c%20#.jpg", "set/b 1/d.jpg"]
    assert before


def test_one_file(bucket, fetched):
    assert fetch_file(bucket / "other.jpg", "detector.weights").read_bytes() == b"other.jpg"
    fetch_file(bucket / "other.jpg", "detector.weights")
    assert fetched == ["other.jpg"]
    with pytest.raises(UserError, match=r"^detector\.weights: nothing is at s3://\S+/none$"):
        fetch_file(bucket / "none", "detector.weights")


def test_a_path_stays_a_path(tmp_path):
    assert fetch_folder(tmp_path, "x") is tmp_path
    assert fetch_file(Path("none"), "x") == Path("none")


@pytest.mark.usefixtures("fetched")
def test_why_nothing_is_there(bucket):
    assert explain_missing(bucket / "set") == ""
    assert explain_missing(bucket / "other.jpg") == ""
    assert explain_missing(bucket / "none") == "nothing is there"
    assert explain_missing(Address("s3://other/x")) == "no such bucket"
