import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.system.listing import escape_path, list_all_files, read_file_state
from bgexp.system.terminal import make_printable


def make_files(root, *names):
    """Write files by name or bytes; each holds its own name."""
    for name in names:
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root


def list_closed(root):
    return {entry.path: entry.closed for entry in list_all_files(root)}


def test_regular_files_by_path(tmp_path):
    make_files(tmp_path, "b.txt", "a/c.jpg", "a/b/d.jpg", "a/empty/e.png", "a.jpg")
    (tmp_path / "nothing").mkdir()
    entries = list_all_files(tmp_path)
    assert [entry.path for entry in entries] == [
        "a.jpg",
        "a/b/d.jpg",
        "a/c.jpg",
        "a/empty/e.png",
        "b.txt",
    ]
    assert [entry.category for entry in entries] == [".", "a/b", "a", "a/empty", "."]
    for entry in entries:
        assert entry.file == tmp_path / entry.path
        assert entry.closed == ""
        assert entry.size == len(entry.path)
        assert entry.state == read_file_state(entry.file.stat())
    assert list_all_files(tmp_path / "nothing") == []


def test_the_state_changes_with_the_file(tmp_path):
    make_files(tmp_path, "a.jpg", "b.jpg")
    before = {entry.path: entry.state for entry in list_all_files(tmp_path)}
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    (tmp_path / "b.jpg").replace(tmp_path / "c.jpg")
    (tmp_path / "c.jpg").with_name("b.jpg").write_bytes(b"b.jpg")
    after = {entry.path: entry.state for entry in list_all_files(tmp_path)}
    assert after["a.jpg"] == (5, 1, before["a.jpg"][2])
    assert after["b.jpg"] != before["b.jpg"]
    assert after["c.jpg"] == before["b.jpg"]


def test_links_are_told_and_not_followed(tmp_path):
    make_files(tmp_path, "in/a.jpg", "out/b.jpg")
    inside = tmp_path / "in"
    (inside / "file.jpg").symlink_to(tmp_path / "out" / "b.jpg")
    (inside / "folder").symlink_to(tmp_path / "out")
    (inside / "dangling.jpg").symlink_to("nowhere")
    (inside / "itself").symlink_to("itself")
    (inside / "up").symlink_to(tmp_path / "in")
    (inside / ".hidden").symlink_to("a.jpg")
    links = ("file.jpg", "folder", "dangling.jpg", "itself", "up", ".hidden")
    assert list_closed(inside) == {"a.jpg": "", **dict.fromkeys(links, "a link")}


def follow(root, without=()):
    entries = list_all_files(root, without, follow_links=True)
    return {entry.path: entry.closed or entry.file.read_text() for entry in entries}


def test_links_stand_for_what_they_lead_to(tmp_path):
    make_files(tmp_path, "in/a.jpg", "in/sub/c.jpg", "out/b.jpg", "out/deep/d.jpg")
    inside = tmp_path / "in"
    (inside / "file.jpg").symlink_to(tmp_path / "out" / "b.jpg")
    (inside / "folder").symlink_to(tmp_path / "out")
    (inside / "a-sub").symlink_to("sub")
    (inside / "again").symlink_to(tmp_path / "out")
    (inside / "dangling.jpg").symlink_to("nowhere")
    (inside / "itself").symlink_to("itself")
    (inside / ".hidden").symlink_to("a.jpg")
    (inside / "zero").symlink_to("/dev/zero")
    assert follow(inside) == {
        "a.jpg": "in/a.jpg",
        "sub/c.jpg": "in/sub/c.jpg",
        "a-sub": "listed elsewhere",
        "file.jpg": "out/b.jpg",
        "again/b.jpg": "out/b.jpg",
        "again/deep/d.jpg": "out/deep/d.jpg",
        "folder": "listed elsewhere",
        "dangling.jpg": "a link that leads nowhere",
        "itself": "a link that leads nowhere",
        ".hidden": "a link",
        "zero": "a device",
    }
    (entry,) = [e for e in list_all_files(inside, (), True) if e.path == "file.jpg"]
    assert entry.state == read_file_state((tmp_path / "out" / "b.jpg").stat())


def test_links_that_lead_back_are_refused(tmp_path):
    make_files(tmp_path, "top/in/a.jpg", "top/beside/b.jpg")
    inside = tmp_path / "top" / "in"
    (inside / "up").symlink_to(tmp_path / "top")
    (inside / "root").symlink_to("/")
    (inside / "here").symlink_to(".")
    (inside / "away").symlink_to(tmp_path / "top" / "beside")
    (tmp_path / "top" / "beside" / "back").symlink_to(inside)
    back = "a link that leads back"
    assert follow(inside) == {
        "a.jpg": "top/in/a.jpg",
        **{"up": back, "root": back, "here": back},
        "away/b.jpg": "top/beside/b.jpg",
        "away/back": back,
    }


def test_a_link_into_what_is_left_out_is_left_out(tmp_path):
    make_files(tmp_path, "in/a.jpg", "in/results/b.jpg")
    (tmp_path / "in" / "link").symlink_to("results")
    assert follow(tmp_path / "in", [tmp_path / "in" / "results"]) == {"a.jpg": "in/a.jpg"}


def test_what_is_no_file_is_told(tmp_path, monkeypatch):
    make_files(tmp_path, "folder.jpg/in.txt")
    os.mkfifo(tmp_path / "fifo.jpg")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        expected = {"fifo.jpg": "a FIFO", "folder.jpg/in.txt": "", "socket.jpg": "a socket"}
        assert list_closed(tmp_path) == expected
    assert list_closed(Path("/dev"))["null"] == "a device"


def test_a_hidden_folder_stands_for_what_is_in_it(tmp_path):
    make_files(tmp_path, ".git/config", ".git/objects/a.jpg", "a/.hidden.jpg", "a/b.jpg")
    assert list_closed(tmp_path) == {".git": "hidden", "a/.hidden.jpg": "hidden", "a/b.jpg": ""}


def test_folders_that_are_passed_over(tmp_path):
    make_files(tmp_path, "a.jpg", "out/b.jpg", "in/out/c.jpg", "outer/d.jpg")
    entries = list_all_files(tmp_path, [tmp_path / "out"])
    assert [entry.path for entry in entries] == ["a.jpg", "in/out/c.jpg", "outer/d.jpg"]


def test_an_unreadable_folder_is_told_of(tmp_path, monkeypatch):
    make_files(tmp_path, "a.jpg", "b/c.jpg", "d/e.jpg")
    scandir = os.scandir

    def fail(path):
        if Path(path).name in ("b", "none"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    reasons = list_closed(tmp_path)
    assert reasons == {"a.jpg": "", "b": "unreadable: Permission denied", "d/e.jpg": ""}
    with pytest.raises(PermissionError):
        list_all_files(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        list_all_files(tmp_path / "missing")


def test_names_that_are_not_utf8(tmp_path):
    make_files(tmp_path, b"caf\xe9.jpg", b"\xfe/in.jpg", "50%.jpg", "\u00e4\n.jpg")
    files = {entry.path: entry.file for entry in list_all_files(tmp_path)}
    assert set(files) == {"caf%E9.jpg", "%FE/in.jpg", "50%.jpg", "\u00e4\n.jpg"}
    assert files["caf%E9.jpg"].read_bytes() == b"caf\xe9.jpg"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([b"\xff", "%FF"], {"%FF": b"\xff", "%25FF": b"%FF"}),
        (
            [b"\xff", "%FF", "%25FF"],
            {"%FF": b"\xff", "%25FF": b"%25FF", "%2525FF": b"%FF"},
        ),
        ([b"\xff/x", "%FF/x"], {"%FF/x": b"\xff/x", "%25FF/x": b"%FF/x"}),
        (["%FF", "%25FF"], {"%FF": b"%FF", "%25FF": b"%25FF"}),
    ],
)
def test_names_that_would_become_the_same(tmp_path, names, expected):
    make_files(tmp_path, *names)
    assert {entry.path: entry.file.read_bytes() for entry in list_all_files(tmp_path)} == expected


PART = st.binary(min_size=1, max_size=4).filter(lambda name: not {0, 0x2F} & set(name))
PART |= st.lists(st.sampled_from([b"%", b"F", b"25", b"\xff", b"a"]), min_size=1, max_size=4).map(
    b"".join
)
PATHS = st.sets(st.lists(PART, min_size=1, max_size=3).map(b"/".join), min_size=1, max_size=8)


@settings(max_examples=60)
@given(PATHS)
def test_each_regular_file_appears_once(paths):
    with tempfile.TemporaryDirectory() as folder:
        root, files = Path(folder), set()
        for name in sorted(paths):
            path = root / os.fsdecode(name)
            if any(part in (b".", b"..") for part in name.split(b"/")):
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
            except OSError:  # a file where another name has its folder
                continue
            if not any(part.startswith(b".") for part in name.split(b"/")):
                files.add(path)
        entries = list_all_files(root)
        assert {entry.file for entry in entries if not entry.closed} == files
        assert len({entry.path for entry in entries}) == len(entries)
        assert [entry.path for entry in entries] == sorted(entry.path for entry in entries)
        assert all(entry.path.encode().decode() == entry.path for entry in entries)


@given(st.binary(max_size=20).filter(lambda name: 0 not in name))
def test_escaped_is_text_and_stays(name):
    path = escape_path(os.fsdecode(name))
    assert path.encode().decode() == path
    assert escape_path(path) == path


@given(st.text(st.characters()))
def test_shown_is_one_line_that_prints(text):
    line = make_printable(text)
    assert all(c.isprintable() or c == "\u200d" for c in line)
    assert line.encode().decode() == line
    if text.isprintable():
        assert line == text


def test_shown_by_hand():
    assert (
        make_printable("\x1b[31m\u202e\x00\udcff\r\n\u2028")
        == r"\x1b[31m\u202e\x00\udcff\r\n\u2028"
    )
    assert (
        make_printable("\U0001f469\u200d\U0001f680 \u00e9") == "\U0001f469\u200d\U0001f680 \u00e9"
    )
    assert make_printable(Path("a\tb")) == r"a\tb"
