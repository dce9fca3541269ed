import errno
import hashlib
import json
import math
import os
import resource
import stat
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.system import atomic as files
from bgexp.system.atomic import (
    TEMPORARY,
    make_folder,
    open_whole,
    sync_tree,
    write_json,
    write_whole,
)
from bgexp.system.folders import LocalFolder
from bgexp.system.hashing import hash_bytes, hash_file


def test_write_whole(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_whole(path, b"one")
    write_whole(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_longest_name_and_the_usual_rights(tmp_path):
    path = tmp_path / ("ü" * 127)  # 254 bytes of at most 255
    write_whole(path, b"x")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()])
def test_a_failed_write_changes_nothing(tmp_path, monkeypatch, old, step, error):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(type(error)):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == (["file"] if old else [])
    assert not old or path.read_bytes() == old


def test_a_write_that_fails_halfway_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(tmp_path / "file", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_fsync_of_the_folder_is_not_success(tmp_path, monkeypatch):
    fsync = os.fsync
    make_folder(tmp_path)

    def fail_on_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("disk")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_on_folders)
    with pytest.raises(OSError, match="disk"):
        write_whole(tmp_path / "file", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.EIO])
def test_a_file_system_that_syncs_no_folders(tmp_path, monkeypatch, number):
    """Some network file systems; any other error than theirs is one."""
    fsync = os.fsync

    def refuse_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, "no folders")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with pytest.raises(OSError, match="no folders") if number == errno.EIO else nullcontext():
        write_whole(tmp_path / "new" / "file", b"x")
        sync_tree(tmp_path)
        assert (tmp_path / "new" / "file").read_bytes() == b"x"


def test_a_file_that_cannot_be_synced_is_an_error_there_too(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    fsync = os.fsync

    def refuse_files(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no files")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_files)
    with pytest.raises(OSError, match="no files"):
        sync_tree(tmp_path)


def test_the_order_of_steps(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, os.replace
    make_folder(tmp_path)

    def note_fsync(descriptor):
        mode = os.fstat(descriptor).st_mode
        steps.append("fsync folder" if stat.S_ISDIR(mode) else "fsync file")
        fsync(descriptor)

    def note_replace(source, target, **folders):
        assert Path(source).match(TEMPORARY)
        assert (tmp_path / source).read_bytes() == b"x"
        steps.append("replace")
        replace(source, target, **folders)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_whole(tmp_path / "file", b"x")
    assert steps == ["fsync file", "replace", "fsync folder"]


@pytest.fixture
def synced(monkeypatch):
    """The folders and files that are synced, in their order."""
    places, fsync = [], os.fsync

    def note(descriptor):
        places.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(files, "_on_disk", set())
    return places


def test_the_names_of_new_folders_are_on_disk_up_to_the_first_that_is_there(tmp_path, synced):
    make_folder(tmp_path / "a" / "b")
    assert synced[-3:] == [tmp_path.parent, tmp_path, tmp_path / "a"]
    synced.clear()
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "c")
    assert synced == [tmp_path / "a"]  # what is known to be there is not synced again
    (tmp_path / "a" / "c").rmdir()
    make_folder(tmp_path / "a" / "c")
    assert synced == 2 * [tmp_path / "a"]  # but what is made again


def test_a_folder_of_a_process_that_was_killed_before_it_synced_is_synced_by_the_next(
    tmp_path, synced
):
    (tmp_path / "a" / "b").mkdir(parents=True)
    make_folder(tmp_path / "a" / "b")
    assert synced[-2:] == [tmp_path, tmp_path / "a"]


def test_folders_on_the_way_to_a_name_from_elsewhere_are_synced_in_each_other(tmp_path, synced):
    LocalFolder(tmp_path).write("a/b/file", b"x")
    assert synced.index(tmp_path) < synced.index(tmp_path / "a") < synced.index(tmp_path / "a/b")


@pytest.mark.parametrize(
    ("name", "answer"),
    [("ismount", lambda _path: True), ("access", lambda _path, mode: mode != os.R_OK | os.W_OK)],
)
def test_what_is_mounted_or_others_own_is_the_last_folder_that_is_synced(
    tmp_path, synced, monkeypatch, name, answer
):
    monkeypatch.setattr(os.path if name == "ismount" else os, name, answer)
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_folder_that_cannot_be_made_is_named_whole(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError) as caught:
        make_folder(tmp_path / "a" / "b")
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match="No such file") as caught:  # the kernel's own folder
        make_folder("/proc/self/new")
    assert caught.value.filename == f"/proc/{os.getpid()}/new"


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch, call):
    real = os.open

    def fail(*arguments, **_folders):
        if call == "open" and not str(arguments[0]).endswith(".part"):
            return real(*arguments, **_folders)
        names = {"open": arguments[:1], "fsync": (), "replace": (arguments[0], None, arguments[-1])}
        raise OSError(errno.ENOSPC, "full", *names[call])

    make_folder(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="full") as caught:
            write_whole(tmp_path / "a" / "b", b"data")
    assert str(caught.value) == f"[Errno 28] full: '{tmp_path}/a/b'"
    with pytest.raises(OSError, match="words alone"), open_whole(tmp_path / "b"):
        raise OSError("words alone")
    with pytest.raises(OSError, match=r"^\[Errno 5\] another$"), open_whole(tmp_path / "b"):
        raise OSError(errno.EIO, "another")


def test_of_two_open_files_the_one_that_fails_is_named(tmp_path):
    outer = tmp_path / "outer"

    def fill_the_first():
        with open_whole(outer) as first, open_whole(tmp_path / "inner"):
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, first.fileno())
            os.close(full)
            first.write(b"x" * 100_000)

    with pytest.raises(OSError, match=f"No space left on device: '{outer}'$"):
        fill_the_first()
    assert list(tmp_path.iterdir()) == []


def test_what_a_library_wrote_is_synced_with_its_folders(tmp_path, synced):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/1", "a/b/2"):
        (tmp_path / name).touch()
    sync_tree(tmp_path / "a")
    assert {tmp_path, *(tmp_path / name for name in ("a", "a/b", "a/1", "a/b/2"))} <= {*synced}


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="x"):
        write_whole(tmp_path / "x", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def parse_strict(text):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


def test_write_json_is_strict_and_keeps_the_order(tmp_path):
    obj = {"z": math.nan, "a": [math.inf, -math.inf, 1.5], "t": (np.float64("nan"), None, True, 3)}
    write_json(tmp_path / "x.json", obj | {"name": "ü\udcff"})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    expected = {"z": None, "a": [None, None, 1.5], "t": [None, None, True, 3], "name": "ü\udcff"}
    assert parse_strict(text) == expected
    assert list(parse_strict(text)) == ["z", "a", "t", "name"]
    assert text.startswith('{\n  "z": null')
    assert text.endswith("}\n")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
@settings(max_examples=50, deadline=None)
def test_anything_comes_back_with_null_for_nan(obj):
    def replace_nan(value):
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {key: replace_nan(item) for key, item in value.items()}
        return [replace_nan(item) for item in value] if isinstance(value, list) else value

    contents = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_whole", lambda _, data: contents.append(data))
        write_json("x.json", obj)
    assert parse_strict(contents[0]) == replace_nan(obj)


def test_what_has_no_json_form_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 3_000_001])
def test_sha256(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "x").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert hash_file(tmp_path / "x") == hash_bytes(data) == expected
