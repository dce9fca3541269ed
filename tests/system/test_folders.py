"""The folder of results: the same on a file system and in an object store."""

import pytest

from bgexp.system.folders import LocalFolder, StoreFolder, locate_error, open_folder
from bgexp.system.hashing import hash_bytes


@pytest.fixture(params=["local", "store"])
def folder(request, tmp_path):
    if request.param == "local":
        return open_folder(tmp_path / "out")
    return open_folder(request.getfixturevalue("bucket") / "out")


def test_what_is_written_is_there_whole(folder):
    folder.write("regular/a b/x%20#1.png", b"old")
    folder.write("regular/a b/x%20#1.png", b"new content")
    name = "regular/a b/x%20#1.png"
    assert folder.read(name) == b"new content"
    assert folder.read_end(name, 7) == b"content"
    assert folder.hash(name) == hash_bytes(b"new content")
    with folder.open(name) as file:
        assert file.seek(4) == 4
        assert file.read() == b"content"
    with folder.open_whole("manifest.csv") as file:
        file.write(b"1,")
        file.write(b"2")
    assert folder.read("manifest.csv") == b"1,2"
    assert folder.name == "out"
    assert str(folder).endswith("/out")


def test_what_is_not_there(folder):
    folder.write("a/b", b"")
    for call in (folder.read, lambda name: folder.read_end(name, 3)):
        with pytest.raises(FileNotFoundError):
            call("a/c")
    assert folder.hash("a/c") is None
    assert not folder.has_files("c")
    assert folder.list_folders("c") == []
    folder.discard("c")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", ""])
def test_a_name_that_leads_out_is_refused(folder, name):
    folder.write("a/b", b"")
    for call in (folder.read, lambda name: folder.write(name, b"")):
        with pytest.raises(OSError, match="leads out"):
            call(name)


def test_whether_all_are_there(folder):
    names = [f"regular/{n:02}/{letter}.png" for n in range(4) for letter in "abc"]
    names += ["masks/a.png", "summary.json"]
    for name in names:
        folder.write(name, b"")
    assert folder.holds(names)
    assert folder.holds(names[::3])
    assert folder.holds([])
    for missing in ("regular/00/A.png", "regular/01/aa.png", "regular/09/a.png", "other/a.png"):
        assert not folder.holds([*names[:5], missing])
    assert not folder.holds(["regular/00"])  # a folder


def test_only_what_was_recorded_is_removed(folder):
    folder.write("a/b", b"1")
    assert not folder.remove("a/b", hash_bytes(b"2"))
    assert not folder.remove("a/c", hash_bytes(b"1"))
    assert folder.has_files("a")
    assert folder.remove("a/b", hash_bytes(b"1"))
    assert not folder.has_files("a")


def test_folders_in_a_folder(folder):
    for name in ("a/1/x", "a/2/3/x", "a/y", "ab/z"):
        folder.write(name, b"")
    assert folder.list_folders("a") == ["1", "2"]
    folder.discard("a/2")
    assert folder.list_folders("a") == ["1"]
    folder.discard("a/y")
    folder.discard("a")
    assert folder.read("ab/z") == b""
    assert folder.list_folders("a") == []


def test_of_a_store_two_cannot_create_one_object(bucket):
    folder = StoreFolder(bucket)
    assert folder.create("lock", b"1")
    assert not folder.create("lock", b"2")


def test_what_is_appended_is_behind_the_rest(tmp_path):
    folder = LocalFolder(tmp_path)
    folder.write("journal", b"1\n")
    folder.append("journal", b"2\n")
    assert folder.read("journal") == b"1\n2\n"
    with pytest.raises(FileNotFoundError):
        folder.append("none", b"1")


def test_an_error_tells_its_file(tmp_path, bucket):
    folder = LocalFolder(tmp_path)
    (tmp_path / "a").mkdir()
    for error, expected in (
        (OSError(5, "x"), tmp_path),
        (OSError(5, "x", "b/c"), tmp_path / "b/c"),
        (OSError(5, "x", str(tmp_path / "t"), None, "b/d"), tmp_path / "b/d"),
    ):
        assert locate_error(folder, error) == str(expected)
    with pytest.raises(IsADirectoryError) as caught:
        folder.write("a", b"x")
    assert locate_error(folder, caught.value) == str(tmp_path / "a")
    assert locate_error(open_folder(bucket), OSError(5, "x", "b/c")) == str(bucket)
