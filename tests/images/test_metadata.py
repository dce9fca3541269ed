import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from bgexp.config.analyze import QualityChecks
from bgexp.images.decode import ImageError, decode_image
from bgexp.images.metadata import FIELDS, read_metadata

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def encode(image=PICTURE, format="PNG", **options):
    file = io.BytesIO()
    image.copy().save(file, format, **options)  # saving leaves settings behind in it
    return file.getvalue()


def read(data):
    return read_metadata(io.BytesIO(data))


def encode_with_exif(tags, photo=(), gps=(), format="JPEG"):
    exif = Image.Exif()
    exif.update(tags)
    exif.get_ifd(ExifTags.IFD.Exif).update(dict(photo))
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(dict(gps))
    return encode(format=format, exif=exif.tobytes())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"])
def test_formats(format):
    metadata = read(encode(format=format))
    assert (metadata.format, metadata.width, metadata.height, metadata.frames) == (format, 13, 9, 1)
    assert (metadata.bits, metadata.orientation, metadata.icc, metadata.turned) == (8, 1, "", False)
    assert metadata.mode == ("P" if format == "GIF" else "RGB")


DEEP = np.arange(0, 16 * 4096, 4096, dtype=np.uint16).reshape(4, 4)
DEPTHS = {
    "1-bit PNG": (PICTURE.convert("1"), "PNG", {}, 1),
    "1-bit TIFF": (PICTURE.convert("1"), "TIFF", {}, 1),
    "1-bit BMP": (PICTURE.convert("1"), "BMP", {}, 1),
    "2-bit PNG": (PICTURE.quantize(4), "PNG", {}, 2),
    "4-bit PNG": (PICTURE.quantize(16), "PNG", {}, 4),
    "8-bit PNG": (PICTURE.quantize(100), "PNG", {}, 8),
    "grey PNG": (PICTURE.convert("L"), "PNG", {}, 8),
    "RGBA PNG": (PICTURE.convert("RGBA"), "PNG", {}, 8),
    "16-bit PNG": (Image.fromarray(DEEP), "PNG", {}, 16),
    "16-bit TIFF": (Image.fromarray(DEEP), "TIFF", {}, 16),
    "16-bit TIFF, big-endian": (Image.fromarray(DEEP.astype(">u2")), "TIFF", {}, 16),
    "32-bit TIFF": (Image.fromarray(DEEP.astype(np.int32)), "TIFF", {}, 32),
    "float TIFF": (Image.fromarray(DEEP.astype(np.float32)), "TIFF", {}, 32),
    "packed TIFF": (Image.fromarray(DEEP), "TIFF", {"compression": "tiff_deflate"}, 16),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_depth(name):
    image, format, options, expected = DEPTHS[name]
    assert read(encode(image, format, **options)).bits == expected


def test_sixteen_bits_of_colour():
    def chunk(name, data):
        sum_ = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + sum_

    for colour, channels in ((2, 3), (4, 2), (6, 4)):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(b"\0" + b"\x12\x34" * channels))
        data = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
        assert read(data).bits == 16


def test_ten_bits_of_heif():
    file = io.BytesIO()
    pillow_heif.encode("RGB;16", (4, 4), np.repeat(DEEP[..., None], 3, -1).tobytes(), file)
    assert read(file.getvalue()).bits == 10


def test_frames():
    for format in ("GIF", "MPO", "TIFF", "WEBP"):
        images = [Image.new("RGB", (13, 9), "lime"), PICTURE.copy()]
        data = encode(format=format, save_all=True, append_images=images)
        assert (read(data).format, read(data).frames) == (format, 3)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_the_orientation_is_the_one_that_pixels_are_turned_by(format, turn):
    data = encode_with_exif({ExifTags.Base.Orientation: turn}, format=format)
    metadata, pixels = read(data), decode_image(data)
    sides = (
        (metadata.height, metadata.width) if metadata.turned else (metadata.width, metadata.height)
    )
    assert sides == pixels.shape[1::-1]
    assert metadata.orientation == (1 if format == "HEIF" else turn)  # libheif has turned it


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_xmp_alone_turns_neither_heif_nor_avif(format):
    metadata = read(encode(format=format, xmp=b'<x tiff:Orientation="6"/>'))
    assert (metadata.orientation, metadata.turned) == (1, False)


def test_an_orientation_that_is_none():
    metadata = read(encode_with_exif({ExifTags.Base.Orientation: 9, ExifTags.Base.Make: "x"}))
    assert (metadata.orientation, metadata.fields["make"]) == (1, "x")


def test_the_name_of_a_profile():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read(encode(icc_profile=profile)).icc == "sRGB built-in"
    assert read(encode(icc_profile=b"no profile")).icc == "unreadable"


# -- EXIF ----------------------------------------------------------------------------------------

BASE = ExifTags.Base
WRITTEN = {
    "make": ("tags", BASE.Make, " Canon\0", "Canon"),
    "model": ("tags", BASE.Model, "EOS  5D\n", "EOS 5D"),
    "taken": ("photo", BASE.DateTimeOriginal, "2026:11:23 09:05:00", "2026:11:23 09:05:00"),
    "lens": ("photo", BASE.LensModel, "50mm", "50mm"),
    "exposure": ("photo", BASE.ExposureTime, IFDRational(1, 4), "0.25"),
    "aperture": ("photo", BASE.FNumber, IFDRational(28, 10), "2.8"),
    "iso": ("photo", BASE.ISOSpeedRatings, 400, "400"),
    "focal_length": ("photo", BASE.FocalLength, IFDRational(50, 1), "50.0"),
    "software": ("tags", BASE.Software, "GIMP", "GIMP"),
    "artist": ("tags", BASE.Artist, "A. Person", "A. Person"),
    "copyright": ("tags", BASE.Copyright, "(c) 2026", "(c) 2026"),
    "description": ("tags", BASE.ImageDescription, "x" * 300, "x" * 200),
    "orientation": ("tags", BASE.Orientation, 6, "6"),
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_each_field(format, name):
    where, tag, value, expected = WRITTEN[name]
    metadata = read(encode_with_exif(**{"tags": {}, where: {tag: value}}, format=format)).fields
    assert metadata == {name: expected}


def test_all_fields_are_known():
    assert set(FIELDS) == {*WRITTEN, "dpi", "gps"}
    QualityChecks(exif=tuple(FIELDS))


def test_of_several_times_the_first_that_is_set_counts():
    times = {BASE.DateTimeOriginal: "0000:00:00 00:00:00", BASE.DateTimeDigitized: "2026:01:02"}
    metadata = read(encode_with_exif({BASE.DateTime: "2027:01:01"}, times)).fields
    assert metadata["taken"] == "2026:01:02"
    blank = {BASE.DateTimeOriginal: "    :  :     :  :  "}
    assert "taken" not in read(encode_with_exif({}, blank)).fields


@pytest.mark.parametrize("value", ["", "  ", "\0\0"])
def test_blank_text_is_not_said(value):
    assert read(encode_with_exif({BASE.Make: value, BASE.Model: "m"})).fields == {"model": "m"}


def test_a_number_that_is_unknown_is_not_said():
    """EXIF has 0/0 for "unknown"."""
    metadata = read(
        encode_with_exif({}, {BASE.FNumber: IFDRational(0, 0), BASE.ISOSpeedRatings: 100})
    )
    assert metadata.fields == {"iso": "100"}


GPS = {
    ExifTags.GPS.GPSLatitudeRef: "N",
    ExifTags.GPS.GPSLatitude: (IFDRational(48), IFDRational(8), IFDRational(0)),
    ExifTags.GPS.GPSLongitudeRef: "E",
    ExifTags.GPS.GPSLongitude: (IFDRational(11), IFDRational(34), IFDRational(0)),
}


def test_whether_the_place_is_said():
    assert read(encode_with_exif({}, gps=GPS)).fields == {"gps": "yes"}
    assert read(encode_with_exif({})).fields == {}
    # Cameras without a receiver write the version of the standard, and no place.
    version = {ExifTags.GPS.GPSVersionID: b"\2\3\0\0"}
    assert read(encode_with_exif({}, gps=version)).fields == {}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_dots_per_inch(format):
    metadata = read(encode(format=format, dpi=(300, 150))).fields["dpi"]
    assert [round(float(side)) for side in metadata.split("x")] == [300, 150]
    assert "dpi" not in read(encode(format="WEBP")).fields


def test_broken_exif_is_left_out():
    rng = np.random.default_rng(0)
    whole = encode_with_exif({BASE.Make: "Canon"}, {BASE.LensModel: "50mm"}, GPS)
    start = whole.index(b"Exif\0\0") + 6
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(start, start + 120, 8):
            data[place] = rng.integers(256)
        metadata = read(bytes(data))
        assert (metadata.format, metadata.width, metadata.height) == ("JPEG", 13, 9)
        assert all(isinstance(text, str) and "\n" not in text for text in metadata.fields.values())
    broken = encode(format="JPEG", exif=b"Exif\0\0no tags")
    assert (read(broken).fields, read(broken).orientation) == ({}, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty: no bytes"),
        (b"text", "not an image"),
        (encode()[:20], "truncated"),
        (encode(format="TIFF")[:8], "truncated: it ends before its directory"),
        (encode(format="PPM"), "not an image of an accepted format"),
    ],
)
def test_broken_headers(data, reason):
    with pytest.raises(ImageError, match=reason):
        read(data)


def test_pixels_are_not_decoded(monkeypatch):
    files = [
        encode(),
        encode(format="JPEG"),
        encode(format="TIFF"),
        encode_with_exif({}, format="PNG"),
    ]

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    for data in files:
        assert read(data).width == 13
    assert read(files[0][:-40]).width == read(files[1][:-40]).width == 13


def test_exif_behind_the_pixels_of_a_png():
    exif = Image.Exif()
    exif[BASE.Orientation] = 6
    content = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    plain = encode()
    data = plain[:-12] + chunk + plain[-12:]
    metadata = read(data)
    assert (metadata.orientation, metadata.fields) == (6, {"orientation": "6"})
    assert decode_image(data).shape == (13, 9, 3)
