import pytest

from bgexp.batch.input_files import InputFiles, find_input
from bgexp.errors import UserError


@pytest.fixture
def tree(tmp_path):
    for name in ("in/a/x.jpg", "in/b/x.jpg", "in/b/y.jpg", "other/z.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def list_paths(source):
    return [entry.path for entry in source.walk()]


def test_a_folder_is_all_below_it(tree):
    source = find_input([tree / "in"])
    assert source == InputFiles(tree / "in")
    assert source.folders == {str(tree / "in")}
    assert list_paths(source) == ["a/x.jpg", "b/x.jpg", "b/y.jpg"]


def test_one_file(tree):
    (entry,) = find_input([tree / "in/a/x.jpg"]).walk()
    assert (entry.path, entry.file, entry.size) == ("x.jpg", tree / "in/a/x.jpg", 10)


def test_several_keep_apart_what_has_the_same_name(tree):
    source = find_input([tree / "in/a/x.jpg", tree / "in/b", tree / "in/b/x.jpg"])
    assert source.root == tree / "in"
    assert list_paths(source) == ["a/x.jpg", "b/x.jpg", "b/y.jpg"]
    assert source.folders == {str(tree / "in/a"), str(tree / "in/b")}


def test_a_list_has_one_a_line_from_the_current_folder(tree, monkeypatch):
    monkeypatch.chdir(tree)
    (tree / "list.txt").write_text("\ufeffin/a/x.jpg\r\n\nother/z.jpg\nin/a/gone.jpg\nin/a/x.jpg\n")
    source = find_input([tree / "list.txt"])
    entries = {entry.path: entry.closed for entry in source.walk()}
    reason = "unreadable: No such file or directory"
    assert entries == {"in/a/x.jpg": "", "in/a/gone.jpg": reason, "other/z.jpg": ""}


def test_a_link_that_is_named_is_meant(tree):
    (tree / "in/link.jpg").symlink_to(tree / "other/z.jpg")
    (entry,) = find_input([tree / "in/link.jpg"]).walk()
    assert (entry.path, entry.file, entry.closed) == ("link.jpg", tree / "other/z.jpg", "")


@pytest.mark.parametrize("names", [["nowhere"], ["in", "nowhere.jpg"]])
def test_what_is_not_there(tree, names):
    with pytest.raises(UserError, match=r"^input: no such folder or file: .*nowhere"):
        find_input([tree / name for name in names])


def test_a_list_that_names_nothing(tree):
    (tree / "list.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"^input: .*list\.txt names no file$"):
        find_input([tree / "list.txt"])


def test_an_empty_folder(tmp_path):
    with pytest.raises(UserError, match=f"^input: {tmp_path} is empty$"):
        list(find_input([tmp_path]).walk())
