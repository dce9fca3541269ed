import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bgexp.config.datasets import Folder, Pairs, Sample
from bgexp.datasets import read as dataset
from bgexp.datasets.read import read_dataset
from bgexp.errors import UserError
from bgexp.system.hashing import hash_bytes
from bgexp.system.listing import escape_path


def make_files(root, *names):
    """Write files whose bytes are their names; names are str or bytes, relative to the root."""
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(root), os.fsencode(name))))  # noqa: PTH118
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root


def read_folder(root, subset=None, seed=0):
    return read_dataset(Folder(name="folder", root=root, subset=subset), seed)


def read_pairs(root, images="images", masks="masks", subset=None):
    settings = Pairs(name="pairs", images=root / images, masks=root / masks, subset=subset)
    return read_dataset(settings, 0)


def list_paths(data):
    return [item.path for item in data.items]


def list_truths(data, root="masks"):
    return {
        item.path: item.mask and item.mask.relative_to(data.root.parent / root).as_posix()
        for item in data.items
    }


def catch_error(call, *args, **kwargs):
    """Return the one line of the UserError that the call raises."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert text.isprintable()
    assert text
    return text


# -- folder ----------------------------------------------------------------------------------


def test_folder(tmp_path):
    make_files(
        tmp_path, "b.JPG", "a/b/x.webp", "a/z.tiff", "notes.txt", "jpg", "a.jpg.part", "Z/x.Png"
    )
    data = read_folder(tmp_path)
    assert data.name == "folder"
    assert data.root == tmp_path
    assert list_paths(data) == ["Z/x.Png", "a/b/x.webp", "a/z.tiff", "b.JPG"]
    assert [item.category for item in data.items] == ["Z", "a/b", "a", "."]
    assert [item.file.relative_to(tmp_path).as_posix() for item in data.items] == list_paths(data)
    assert [item.sha256 for item in data.items] == [
        hash_bytes(p.encode()) for p in list_paths(data)
    ]
    assert {(item.mask, item.mask_sha256) for item in data.items} == {(None, None)}
    assert (data.n_population, data.n_with_truth) == (4, 0)


def test_a_relative_root_gives_absolute_files(tmp_path, monkeypatch):
    make_files(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    (item,) = read_folder(Path("photos")).items
    assert item.file == tmp_path / "photos" / "a.jpg"


def test_odd_names(tmp_path):
    names = [
        b"new\nline.jpg",
        b"not \xff\xe9 UTF-8.jpg",
        b"\xfe/in.jpg",
        "caf\u00e9.jpg".encode(),
        "cafe\u0301.jpg".encode(),
        b"-rf.jpg",
        b"50%.jpg",
        b" x .jpg",
        b"<b>&.jpg",
        b"x" * 251 + b".jpg",
    ]
    data = read_folder(make_files(tmp_path, *names))
    assert len(data.items) == len(set(list_paths(data))) == len(names)
    assert {"not %FF%E9 UTF-8.jpg", "%FE/in.jpg", "new\nline.jpg", "50%.jpg"} < set(
        list_paths(data)
    )
    assert {item.category for item in data.items} == {".", "%FE"}
    # The real path still leads to the file.
    assert sorted(item.file.read_bytes() for item in data.items) == sorted(names)
    assert data.digest == read_folder(tmp_path).digest


def test_names_that_would_become_the_same_stay_two(tmp_path):
    make_files(tmp_path, b"\xff.jpg", "%FF.jpg")
    names = {item.path: os.fsencode(item.file.name) for item in read_folder(tmp_path).items}
    assert names == {"%FF.jpg": b"\xff.jpg", "%25FF.jpg": b"%FF.jpg"}


def test_links_fifos_hidden_and_folders_are_passed_over(tmp_path):
    make_files(
        tmp_path, "in/a.jpg", "out/b.jpg", "in/.hidden.jpg", "in/.git/c.jpg", "in/d.jpg/e.txt"
    )
    (tmp_path / "in" / "link.jpg").symlink_to(tmp_path / "out" / "b.jpg")
    (tmp_path / "in" / "dangling.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    os.mkfifo(tmp_path / "in" / "fifo.jpg")
    assert list_paths(read_folder(tmp_path / "in")) == ["a.jpg"]
    # The root itself may be a link: it is what the user named.
    assert list_paths(read_folder(tmp_path / "in" / "folder")) == ["b.jpg"]
    assert read_folder(tmp_path / "in" / "folder").root == tmp_path / "out"


def test_an_unreadable_file_is_an_item(tmp_path, monkeypatch):
    make_files(tmp_path, "images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png")

    def sha256_file(path):
        if path.name in ("a.jpg", "b.png"):
            raise PermissionError(13, "Permission denied")
        return "good"

    monkeypatch.setattr(dataset, "hash_file", sha256_file)
    data = read_pairs(tmp_path)
    assert [(i.sha256, i.mask_sha256) for i in data.items] == [("", "good"), ("good", "")]
    assert data.n_with_truth == 2


def test_what_is_passed_over_is_counted(tmp_path):
    make_files(tmp_path, "images/a.jpg", "images/note.txt", "images/.hidden.jpg", "out/b.jpg")
    make_files(tmp_path, "masks/a.png", "masks/z.png", "outside/c.png")
    (tmp_path / "images" / "b.jpg").symlink_to(tmp_path / "out" / "b.jpg")
    (tmp_path / "masks" / "b.png").symlink_to(tmp_path / "outside" / "c.png")
    others = {"not an image by its name": 1, "hidden": 1, "a mask without an image": 1}

    def read(**options):
        places = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
        return read_dataset(Pairs(name="pairs", mask_values="threshold", **places, **options), 0)

    data = read()
    assert list_paths(data) == ["a.jpg"]
    assert dict(data.passed_over) == {**others, "a link": 2}
    followed = read(follow_links=True)
    assert list_paths(followed) == ["a.jpg", "b.jpg"]
    assert [item.mask.read_bytes() for item in followed.items] == [b"masks/a.png", b"outside/c.png"]
    assert dict(followed.passed_over) == others
    (tmp_path / "images" / "a.jpg").unlink()
    (tmp_path / "images" / "folder").symlink_to(tmp_path / "out")
    text = catch_error(read_folder, tmp_path / "images")
    assert "a link (2; dataset.follow_links=true reads what it leads to)" in text


def test_wrong_folders(tmp_path):
    assert catch_error(read_folder, tmp_path / "x") == f"dataset.root: no such folder: {tmp_path}/x"
    make_files(tmp_path, "file", "empty/readme.txt")
    expected = f"dataset.root: not a folder (if it is a zip file, unzip it first): {tmp_path}/file"
    assert catch_error(read_folder, tmp_path / "file") == expected
    expected = (
        f"dataset.root: no images in {tmp_path}/empty (passed over: not an image by its name (1); "
        "looked for .avif .bmp .gif .heic .heif .hif .jfif .jpe .jpeg .jpg .mpo .png .tif .tiff "
        ".webp)"
    )
    assert catch_error(read_folder, tmp_path / "empty") == expected
    (tmp_path / "loop").symlink_to("loop")
    assert catch_error(read_folder, tmp_path / "loop").startswith("dataset.root: Too many levels")
    odd = tmp_path / "a\n\x1b[31m\udcff"
    assert (
        catch_error(read_folder, odd) == rf"dataset.root: no such folder: {tmp_path}/a\n\x1b[31m%FF"
    )


def test_an_unreadable_sub_folder_is_not_passed_over(tmp_path, monkeypatch):
    make_files(tmp_path, "a.jpg", "b/c.jpg")
    scandir = os.scandir

    def fail(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    assert (
        catch_error(read_folder, tmp_path)
        == f"dataset.root: unreadable: Permission denied: {tmp_path}/b"
    )


# -- pairs -----------------------------------------------------------------------------------


def test_pairs(tmp_path):
    make_files(tmp_path, "images/a.jpg", "images/c/a.jpg", "images/c/b.png", "images/d.webp")
    make_files(tmp_path, "masks/a.png", "masks/c/a.jpg.png", "masks/c/a.png", "masks/c/b.gif")
    make_files(tmp_path, "masks/unused.png", "masks/c/a.jpg")
    data = read_pairs(tmp_path)
    assert list_truths(data) == {
        "a.jpg": "a.png",
        "c/a.jpg": "c/a.jpg.png",  # the full name goes first
        "c/b.png": "c/b.gif",
        "d.webp": None,
    }
    assert (data.name, data.n_population, data.n_with_truth) == ("pairs", 4, 3)
    hashes = [item.mask_sha256 for item in data.items]
    names = ("a.png", "c/a.jpg.png", "c/b.gif")
    assert hashes == [*(hash_bytes(f"masks/{name}".encode()) for name in names), None]


def test_png_goes_before_other_masks(tmp_path):
    make_files(tmp_path, "images/a.jpg", "masks/a.jpg", "masks/a.PNG", "masks/a.webp")
    assert list_truths(read_pairs(tmp_path)) == {"a.jpg": "a.PNG"}


def test_full_names_part_twins(tmp_path):
    make_files(tmp_path, "images/a.jpg", "images/a.png", "masks/a.jpg.png", "masks/a.png.png")
    assert list_truths(read_pairs(tmp_path)) == {"a.jpg": "a.jpg.png", "a.png": "a.png.png"}
    (tmp_path / "masks" / "a.png.png").rename(tmp_path / "masks" / "a.png")
    assert list_truths(read_pairs(tmp_path)) == {"a.jpg": "a.jpg.png", "a.png": "a.png"}


def test_odd_names_have_masks_too(tmp_path):
    make_files(tmp_path, b"images/\xff.jpg", b"masks/\xff.png", "images/\n.jpg", "masks/\n.png")
    make_files(tmp_path, f"images/{'x' * 251}.jpg", f"masks/{'x' * 251}.png")
    assert read_pairs(tmp_path).n_with_truth == 3
    # Our own masks.zip holds the escaped name.
    make_files(tmp_path, b"images/\xfe.jpg", "masks/%FE.jpg.png")
    assert read_pairs(tmp_path).n_with_truth == 4


def test_one_folder_inside_the_other(tmp_path):
    make_files(tmp_path, "a.jpg", "c/b.jpg", "masks/a.png", "masks/c/b.png")
    data = read_pairs(tmp_path, images=".")
    assert (list_paths(data), data.n_with_truth) == (["a.jpg", "c/b.jpg"], 2)
    make_files(tmp_path, "second/images/a.jpg", "second/a.png", "second/images/a.png")
    (tmp_path / "second" / "images" / "a.png").unlink()
    data = read_pairs(tmp_path / "second", masks=".")
    assert [item.mask for item in data.items] == [tmp_path / "second" / "a.png"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            "images/a.jpg images/a.png masks/a.png",
            "ambiguous: a.png for a.jpg, a.png; a mask named a.png.png would be clear",
        ),
        (
            "images/a.jpg masks/a.gif masks/a.webp",
            "ambiguous: a.gif, a.webp for a.jpg; a mask named a.jpg.png would be clear",
        ),
        (  # the full name of the one, the stem of the other
            "images/a.jpg images/a.jpg.png masks/a.jpg.png",
            "ambiguous: a.jpg.png for a.jpg, a.jpg.png; a mask named a.jpg.png.png would be clear",
        ),
        (
            "images/c/a.jpg images/b.jpg masks/a.png",
            "no image has a mask in ROOT/masks (that of b.jpg is b.jpg.png or has the same stem)",
        ),
    ],
)
def test_masks_that_do_not_fit(tmp_path, files, expected):
    make_files(tmp_path, *files.split())
    assert (
        catch_error(read_pairs, tmp_path)
        == f"dataset.masks: {expected.replace('ROOT', str(tmp_path))}"
    )


def test_wrong_folders_of_pairs(tmp_path):
    make_files(tmp_path, "images/a.jpg", "masks.zip", "empty/x.txt")
    root = str(tmp_path)
    assert catch_error(read_pairs, tmp_path) == f"dataset.masks: no such folder: {root}/masks"
    assert (
        catch_error(read_pairs, tmp_path, images="x") == f"dataset.images: no such folder: {root}/x"
    )
    (tmp_path / "link").symlink_to("images")
    expected = f"dataset.masks: the same folder as dataset.images: {root}/images"
    assert catch_error(read_pairs, tmp_path, masks="images") == expected
    assert catch_error(read_pairs, tmp_path, masks="link") == expected
    text = catch_error(read_pairs, tmp_path, masks="masks.zip")
    assert text.startswith("dataset.masks: not a folder")
    assert "unzip it first" in text
    assert catch_error(read_pairs, tmp_path, masks="empty").startswith(
        f"dataset.masks: no images in {root}/e"
    )
    text = catch_error(read_pairs, tmp_path, images="empty", masks="images")
    assert text.startswith("dataset.images: no images in")


# -- sample ----------------------------------------------------------------------------------


def test_the_sample():
    data = read_dataset(Sample(name="sample"), 0)
    assert data.name == "sample"
    assert len(data.items) == data.n_population == data.n_with_truth == 24
    assert all(item.sha256 and item.mask_sha256 for item in data.items)
    formats = Counter()
    for item in data.items:
        with Image.open(item.file) as image:
            formats[image.format] += 1
    assert formats["MPO"] >= 2
    assert {item.category for item in data.items} > {"food", "people"}


def test_a_subset_of_the_sample():
    data = read_dataset(Sample(name="sample", subset=8), 0)
    assert (len(data.items), data.n_population, data.n_with_truth) == (8, 24, 8)
    assert len({item.category for item in data.items}) == 8  # there are eight


# -- subset ----------------------------------------------------------------------------------


def test_a_subset_hashes_only_what_it_chose(tmp_path, monkeypatch):
    make_files(tmp_path, *(f"{name}/{n}.jpg" for name in "ab" for n in range(5)))
    hashed = []
    monkeypatch.setattr(dataset, "hash_file", lambda path: hashed.append(path) or "x")
    data = read_folder(tmp_path, subset=4, seed=3)
    assert sorted(hashed) == [item.file for item in data.items]
    assert (len(data.items), data.n_population) == (4, 10)
    assert list_paths(read_folder(tmp_path, subset=4, seed=3)) == list_paths(data)
    assert list_paths(read_folder(tmp_path, subset=10)) == list_paths(
        read_folder(tmp_path, subset=99)
    )


# -- digest ----------------------------------------------------------------------------------


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    make_files(tmp_path, "a.jpg", "b.jpg")
    hashed = []
    monkeypatch.setattr(
        dataset, "hash_file", lambda path: hashed.append(path.name) or hash_bytes(b"x")
    )
    for _ in range(3):
        read_folder(tmp_path)
    assert sorted(hashed) == ["a.jpg", "b.jpg"]
    (tmp_path / "a.jpg").write_bytes(b"other")
    read_folder(tmp_path)
    assert sorted(hashed) == ["a.jpg", "a.jpg", "b.jpg"]


def test_the_digest_is_of_content_and_names(tmp_path):
    make_files(tmp_path / "one", "images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png")
    digest = read_pairs(tmp_path / "one").digest
    two = shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read_pairs(two).digest == digest
    digests = {digest, read_folder(two / "images").digest, read_pairs(two, subset=1).digest}
    (two / "images" / "a.jpg").write_bytes(b"images/a.jpG")
    digests.add(read_pairs(two).digest)
    (two / "masks" / "a.png").write_bytes(b"masks/a.pnG")
    digests.add(read_pairs(two).digest)
    (two / "masks" / "a.png").rename(two / "masks" / "a.jpg.png")  # which mask file: no matter
    assert read_pairs(two).digest in digests
    (two / "masks" / "b.png").unlink()
    digests.add(read_pairs(two).digest)
    (two / "images" / "b.jpg").rename(two / "images" / "c.jpg")
    digests.add(read_pairs(two).digest)
    assert len(digests) == 7


@given(st.binary(max_size=20).filter(lambda name: not {0} & set(name)))
def test_escaped_can_be_shown_and_stored(name):
    path = os.fsdecode(name)
    assert escape_path(path).encode().decode() == escape_path(path)
    assert escape_path(escape_path(path)) == escape_path(path)
