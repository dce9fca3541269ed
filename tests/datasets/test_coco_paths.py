import shutil

import pytest
from PIL import Image

from tests.datasets.coco_files import (
    make_content,
    make_image,
    read_error,
    read_images,
    write_annotations,
    write_dataset,
)

OUTSIDE = [
    "../secret.png",
    "c/../../secret.png",
    "c/..",
    "/etc/hostname",
    "//host/share/x.png",
    "C:/x.png",
    "c:x.png",
    r"C:\x.png",
    r"..\secret.png",
    r"\\host\share\x.png",
    "",
    ".",
    "a\0.png",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    content = make_content()
    content["images"][1]["file_name"] = name
    Image.new("RGB", (6, 5)).save(tmp_path / "secret.png")
    shown = name.replace("\\", "/")
    expected = f"a file_name that leads out of dataset.images: {shown!r}"
    assert (
        read_error(write_annotations(tmp_path, content))
        == f"dataset.annotations: {expected}: ROOT/truth.json"
    )


def test_names_of_windows_are_read(tmp_path):
    content = make_content()
    write_dataset(tmp_path, content)
    content["images"][1]["file_name"] = r"c\b.png"
    write_annotations(tmp_path, content)
    assert [item.path for item in read_images(tmp_path).items if item.sha256][1] == "c/b.png"


def test_names_that_lead_out_are_counted(tmp_path):
    content = make_content()
    content["images"] = [make_image(n, name) for n, name in enumerate([*OUTSIDE, "a.png"])]
    content["annotations"] = []
    expected = f"dataset.images: {OUTSIDE[0]!r} (and {len(OUTSIDE) - 1} more): ROOT/truth.json"
    assert read_error(write_annotations(tmp_path, content)).endswith(expected)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("images/a.png", "outside/a.png"),
        ("images/c", "outside"),
        ("images/c", "images-too"),  # its name begins as the root's does
        ("images/a.png", "nowhere"),
    ],
)
def test_links_that_lead_out_are_refused(tmp_path, link, target):
    write_dataset(tmp_path, make_content())
    for name in ("outside", "images-too"):
        shutil.copytree(tmp_path / "images", tmp_path / name)
    path = tmp_path / link
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to(tmp_path / target)
    assert "a file_name that leads out of dataset.images: '" in read_error(tmp_path)


def test_links_that_stay_inside_are_followed(tmp_path):
    write_dataset(tmp_path, make_content(), missing=["a.png"])
    (tmp_path / "images" / "a.png").symlink_to("c/b.png")
    (tmp_path / "images" / "c").rename(tmp_path / "images" / "real")
    (tmp_path / "images" / "c").symlink_to("real")
    assert all(item.sha256 for item in read_images(tmp_path).items)
    # The root itself may be a link: it is what the user named.
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "images").symlink_to("elsewhere")
    assert all(item.sha256 for item in read_images(tmp_path).items)
