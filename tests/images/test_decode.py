import base64
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from bgexp.images.decode import (
    FORMATS,
    SUFFIXES,
    ImageError,
    decode_image,
    load_image,
    make_thumbnail,
    read_bytes,
)
from tests.images.pictures import (
    EXACT,
    NOISE,
    SMOOTH,
    encode,
    encode_gif,
    encode_mpo,
    measure_difference,
)

# Formats and modes


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        *[("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits")],
    ],
)
def test_lossless_formats_are_bit_equal(format, options):
    image = decode_image(encode(NOISE, format, **options))
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert np.array_equal(image, NOISE)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "MPO"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_lossy_formats_are_close(format, options):
    assert (
        measure_difference(decode_image(encode(SMOOTH, format, quality=95, **options)), SMOOTH) <= 8
    )


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_heif_and_avif_are_close(format):
    assert measure_difference(decode_image(encode(SMOOTH, format, quality=95)), SMOOTH) <= 8
    assert measure_difference(decode_image(encode(NOISE, format, **EXACT[format])), NOISE) <= 3
    grey = decode_image(encode(SMOOTH[..., 0], format, **EXACT[format]))
    assert measure_difference(grey, SMOOTH[..., :1]) <= 1


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_the_brand_of_any_heif_says_nothing_of_the_codec(format):
    """Set `mif1`, the first brand of both: what is inside counts."""
    data = encode(SMOOTH, format)
    general = data[:8] + b"mif1" + data[12:]
    assert np.array_equal(decode_image(general), decode_image(data))


def test_of_several_pictures_in_a_heif_the_primary_one_counts():
    images = [Image.new("RGB", (16, 32), "lime"), Image.fromarray(SMOOTH), Image.new("RGB", (8, 8))]
    options = {"save_all": True, "append_images": images[1:], "primary_index": 1}
    data = encode(images[0], "HEIF", **options, quality=95)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert measure_difference(decode_image(data), SMOOTH) <= 8


def test_an_avif_sequence_is_its_first_frame():
    options = {"save_all": True, "append_images": [Image.new("RGB", (24, 24), "lime")]}
    data = encode(SMOOTH, "AVIF", **options, quality=95)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert measure_difference(decode_image(data), SMOOTH) <= 8


# Ten bits, 8x8, left 0x1000 0x8080 0xF0F0, right 0xFFFF 0x4040 0x2000 of sixteen bits, made by
# avifenc -d 10 -y 444 --min 0 --max 0: Pillow writes eight bits only.
TEN_BIT_AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADybWV0YQAAAAAAAAAoaGRscgAAAAAAAAAAcGljdAAAAAAA"
    "AAAAAAAAAGxpYmF2aWYAAAAADnBpdG0AAAAAAAEAAAAeaWxvYwAAAABEAAABAAEAAAABAAABGgAAAC4AAAAoaWluZgAA"
    "AAAAAQAAABppbmZlAgAAAAABAABhdjAxQ29sb3IAAAAAamlwcnAAAABLaXBjbwAAABRpc3BlAAAAAAAAAAgAAAAIAAAA"
    "EHBpeGkAAAAAAwoKCgAAAAxhdjFDgSBAAAAAABNjb2xybmNseAABAA0ABoAAAAAXaXBtYQAAAAAAAAABAAEEAQKDBAAA"
    "ADZtZGF0EgAKCDgIv+cBDQaQMiAQAACLo9NLQuCAoU4Gt15xydXqJsqsOpdAIGZdd/0ccA=="
)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_ten_bits_of_colour(format):
    deep = np.repeat(np.array([[[0x1000, 0x8080, 0xF0F0], [0xFFFF, 0x4040, 0x2000]]]), 4, axis=1)
    deep = np.repeat(deep, 8, axis=0).astype(np.uint16)
    file = io.BytesIO(TEN_BIT_AVIF)
    if format == "HEIF":
        pillow_heif.encode("RGB;16", (8, 8), deep.tobytes(), file, **EXACT["HEIF"])
        assert pillow_heif.open_heif(file).info["bit_depth"] == 10
    image = decode_image(file.getvalue())
    assert image.shape == (8, 8, 3)
    assert measure_difference(image, np.rint(deep / 257)) <= 2


def test_ten_bits_of_grey():
    deep = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    file = io.BytesIO()
    pillow_heif.encode("I;16", (8, 8), deep.tobytes(), file, **EXACT["HEIF"])
    assert Image.open(file).mode == "I;16"
    assert measure_difference(decode_image(file.getvalue()), np.rint(deep / 257)[..., None]) <= 1


def test_an_mpo_is_its_first_frame():
    assert Image.open(io.BytesIO(encode_mpo())).format == "MPO"
    assert measure_difference(decode_image(encode_mpo()), SMOOTH) <= 24


def test_a_gif_is_its_first_frame():
    assert Image.open(io.BytesIO(encode_gif())).n_frames == 2
    expected = Image.fromarray(SMOOTH).quantize(32).convert("RGB")
    assert np.array_equal(decode_image(encode_gif()), expected)


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        *[(format, mode) for format in ("PNG", "TIFF", "BMP", "GIF") for mode in ("1", "L", "P")],
        *[("PNG", "LA"), ("TIFF", "LA"), ("PNG", "RGBA"), ("TIFF", "RGBA"), ("BMP", "RGBA")],
    ],
)
def test_modes_of_eight_bits_or_fewer(format, mode):
    image = Image.fromarray(NOISE).convert(mode)
    assert np.array_equal(decode_image(encode(image, format)), image.convert("RGB"))


def test_every_level_of_sixteen_bits_is_scaled():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.repeat(np.rint(levels / 257)[..., None], 3, axis=2)
    for data in (
        encode(levels),
        encode(levels, "TIFF"),
        encode(levels.astype(">u2"), "TIFF"),
        encode(levels.astype(np.int32), "TIFF"),
    ):
        assert np.array_equal(decode_image(data), expected)


def test_deeper_integers_are_clipped_to_sixteen_bits():
    deep = np.array([[-5, 0, 65535, 70000, 2**31 - 1]], np.int32)
    assert decode_image(encode(deep, "TIFF"))[0, :, 0].tolist() == [0, 0, 255, 255, 255]


@pytest.mark.parametrize(("colour", "expected"), [(2, 0x12), (6, 238), (4, 238)])
def test_sixteen_bits_of_png_with_colour_or_alpha(colour, expected):
    """Lay alpha 0x12 over white: 0x12 * 0x12 / 255 + 255 - 0x12 = 238."""
    channels = {2: 3, 6: 4, 4: 2}[colour]

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + b"\x12\x34" * channels))
    data = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
    assert decode_image(data).tolist() == [[[expected] * 3]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 127.6, 255.0], [0, 128, 255]),
        ([np.nan, -np.inf, np.inf], [0, 0, 255]),
        ([np.nan, -3.0, 1.0], [0, 0, 255]),
    ],
)
def test_floats_are_in_one_or_in_255(values, expected):
    data = encode(np.array([values], np.float32), "TIFF")
    assert decode_image(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format):
    data = encode(SMOOTH, format, mode="CMYK")
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert measure_difference(decode_image(data), SMOOTH) <= 30


def test_ycbcr_and_lab_tiff():
    assert measure_difference(decode_image(encode(SMOOTH, "TIFF", mode="YCbCr")), SMOOTH) <= 3
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    lab = ImageCms.profileToProfile(Image.fromarray(SMOOTH), *profiles, outputMode="LAB")
    image = decode_image(encode(lab, "TIFF", icc_profile=None))
    assert (
        measure_difference(image, SMOOTH) <= 16
    )  # eight bits of Lab are coarse where colours are strong
    assert np.abs(image.astype(int) - SMOOTH).mean() < 1


# Paths


def test_load_image(tmp_path):
    (tmp_path / "ü x.png").write_bytes(encode(NOISE))
    assert np.array_equal(load_image(tmp_path / "ü x.png"), NOISE)
    assert np.array_equal(load_image(str(tmp_path / "ü x.png")), NOISE)
    (tmp_path / "link.png").symlink_to("ü x.png")
    assert np.array_equal(load_image(tmp_path / "link.png"), NOISE)


def test_only_regular_files_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"opened {path}"))
    for path in (tmp_path / "fifo.jpg", tmp_path / "folder.jpg", "/dev/zero"):
        with pytest.raises(ImageError, match=r"^not a regular file$"):
            load_image(path)


def test_unreadable_files(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (("none.jpg", "No such file"), ("loop", "symbolic"), ("a\0b", "null byte")):
        with pytest.raises(ImageError, match=f"^unreadable: .*{reason}"):
            read_bytes(tmp_path / path)


def test_suffixes_cover_the_formats():
    by_pillow = {
        suffix for suffix, format in Image.registered_extensions().items() if format in FORMATS
    }
    assert by_pillow - SUFFIXES <= {".apng", ".avifs", ".heics", ".heifs"}  # the last: sequences
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


# Thumbnails


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.sampled_from([(), (3,), (4,)])
)
@settings(max_examples=100, deadline=None)
def test_a_thumbnail_fits(height, width, size, channels):
    image = np.full((height, width, *channels), 255, np.uint8)
    small = make_thumbnail(image, size)
    assert max(small.shape[:2]) == min(size, max(height, width))
    assert small.shape[2:] == channels
    assert small.min() == 255
    if max(height, width) <= size:
        assert np.array_equal(small, image)


def test_a_thumbnail_averages_areas():
    blocks = NOISE[:8, :12].reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert measure_difference(make_thumbnail(NOISE[:8, :12], 6), np.rint(blocks)) <= 1
