import io
import os

import numpy as np
import pytest
from PIL import ExifTags, Image

from bgexp.images.decode import FORMATS
from bgexp.quality.header import EXTENSIONS, read_header
from bgexp.system.listing import list_all_files, walk_store
from bgexp.system.stores import StoreError, forget_stores, write_object

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8))


def encode_picture(format="PNG", **options):
    file = io.BytesIO()
    PICTURE.copy().save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def header(tmp_path):
    """Return a function that reads the header of a file with this name and content."""

    def read(name, data):
        (tmp_path / name).write_bytes(data)
        [entry] = [listed for listed in list_all_files(tmp_path) if listed.path == name]
        return read_header(entry)

    return read


def test_every_format_has_its_extensions():
    assert set(EXTENSIONS) == set(FORMATS)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"])
def test_images(header, format):
    data = encode_picture(format)
    for suffix in EXTENSIONS[format]:
        parsed = header(f"x{suffix.upper()}", data)
        assert (parsed.kind, parsed.reason, parsed.corrupt) == ("image", "", False)
        assert (parsed.width, parsed.height, parsed.extension_agrees) == (13, 9, True)
        assert parsed.metadata.format == format
    for name in ("x.txt", "noname", "x.png" if format != "PNG" else "x.jpg"):
        parsed = header(name, data)
        assert (parsed.kind, parsed.extension_agrees) == ("image", False)


def test_cameras_call_an_mpo_a_jpeg(header):
    data = encode_picture("MPO", save_all=True, append_images=[PICTURE.copy()])
    for name in ("x.jpg", "x.mpo"):
        parsed = header(name, data)
        assert (parsed.metadata.format, parsed.extension_agrees) == ("MPO", True)


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG", "AVIF", "HEIF"])
def test_sides_are_upright(header, format):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    parsed = header("x", encode_picture(format, exif=exif.tobytes()))
    assert (parsed.width, parsed.height) == (9, 13)


@pytest.mark.parametrize(
    ("name", "data", "kind", "reason"),
    [
        ("x.txt", b"text", "other", "not an image"),
        ("x.txt", b"", "other", "not an image"),
        ("x.jpg", b"", "image", "corrupt: empty: no bytes"),
        ("x.jpg", b"text", "image", "corrupt: not an image of an accepted format"),
        ("x.png", encode_picture()[:20], "image", "corrupt: truncated"),
        ("x.jpg", encode_picture("PPM"), "image", "format not accepted: PPM"),
        ("x.ppm", encode_picture("PPM"), "image", "format not accepted: PPM"),
    ],
)
def test_what_is_no_image(header, name, data, kind, reason):
    parsed = header(name, data)
    assert parsed.kind == kind
    assert parsed.reason.startswith(reason)
    assert parsed.corrupt == reason.startswith("corrupt")
    assert (parsed.metadata, parsed.width, parsed.extension_agrees) == (None, 0, None)


def test_what_is_closed_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")  # opening it would wait for ever
    (tmp_path / "y.jpg").symlink_to(tmp_path / "x.jpg")
    headers = {entry.path: read_header(entry) for entry in list_all_files(tmp_path)}
    assert {path: (parsed.kind, parsed.reason) for path, parsed in headers.items()} == {
        "x.jpg": ("closed", "a FIFO"),
        "y.jpg": ("closed", "a link"),
    }


def test_a_file_that_vanished(tmp_path):
    for name in ("x.jpg", "x.txt"):
        (tmp_path / name).write_bytes(encode_picture())
    files = list_all_files(tmp_path)
    for entry in files:
        entry.file.unlink()
    image, text = map(read_header, files)
    assert (image.kind, text.kind) == ("image", "other")
    assert "No such file" in image.reason
    assert "No such file" in text.reason


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_the_header_of_an_object_is_that_of_the_file(header, bucket, format):
    suffix = sorted(EXTENSIONS[format])[0]
    name, data = f"x{suffix}", encode_picture(format) + bytes(200_000)
    write_object(bucket / name, data)
    (entry,) = walk_store(bucket)
    assert read_header(entry) == header(name, data)


def test_a_store_that_fails_is_not_taken_for_a_broken_file(bucket, monkeypatch):
    write_object(bucket / "x.jpg", encode_picture("JPEG"))
    (entry,) = walk_store(bucket)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    forget_stores()
    with pytest.raises(StoreError, match="another secret key"):
        read_header(entry)
