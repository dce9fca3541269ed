"""Names that lead out of a root, by themselves or over a link: nothing outside is touched."""

import pytest

from bgexp.system.hashing import hash_bytes
from bgexp.system.inside import (
    append_inside,
    hash_inside,
    open_inside,
    remove_inside,
    write_inside,
)

CONTENT = b"somebody else's"
OUT = ["../mine", "a/../../mine", "ABSOLUTE", "link/mine", "", ".", "a//b", "a\0b"]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mine").write_bytes(CONTENT)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path)
    return tmp_path / "root"


@pytest.mark.parametrize("name", OUT)
def test_what_leads_out_is_not_touched(root, name):
    outside = root.parent / "mine"
    name = name.replace("ABSOLUTE", str(outside))
    with pytest.raises(OSError, match=r"."):
        write_inside(root, name, b"new")
    assert hash_inside(root, name) is None
    assert not remove_inside(root, name, hash_bytes(CONTENT))
    assert outside.read_bytes() == CONTENT
    assert {path.name for path in root.parent.iterdir()} == {"mine", "root"}


def test_a_linked_file_is_neither_read_nor_deleted(root):
    (root / "file").symlink_to(root.parent / "mine")
    assert hash_inside(root, "file") is None
    assert not remove_inside(root, "file", hash_bytes(CONTENT))
    write_inside(root, "file", b"new")  # takes the link's place
    assert (root.parent / "mine").read_bytes() == CONTENT
    assert not (root / "file").is_symlink()


def test_what_is_inside_is_written_and_deleted(root):
    (root.parent / "way").symlink_to(root)  # the root itself is the user's choice
    write_inside(root.parent / "way", "a/b/file", b"new")
    assert (root / "a/b/file").read_bytes() == b"new"
    assert hash_inside(root, "a/b/file") == hash_bytes(b"new")
    assert not remove_inside(root, "a/b/file", hash_bytes(b"other"))
    assert remove_inside(root, "a/b/file", hash_bytes(b"new"))
    assert not (root / "a/b/file").exists()


@pytest.mark.parametrize(
    "use",
    [
        lambda root: write_inside(root, "a/b", b"new"),
        lambda root: append_inside(root, "a/b", b"new"),
        lambda root: open_inside(root, "a/b"),
    ],
)
def test_an_error_names_the_file_by_its_path(root, use):
    (root / "a/b").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        use(root)
    assert str(caught.value) == f"[Errno 21] Is a directory: '{root}/a/b'"
