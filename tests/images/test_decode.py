import base64
import io
import os
import pickle
import random
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import AvifImagePlugin, Image, ImageCms, ImageOps, JpegImagePlugin

from bgexp.images.decode import (
    FORMATS,
    SUFFIXES,
    ImageError,
    decode_image,
    decode_mask,
    encode_jpeg,
    encode_mask,
    load_image,
    read_bytes,
    thumbnail,
)

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(*[np.linspace(40, 220, 24)] * 2), -1).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, SMOOTH[::-1, :, :1]], axis=2)


def encode(pixels, format="PNG", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def encode_mpo():
    return encode(SMOOTH, "MPO", save_all=True, append_images=[Image.new("RGB", (24, 24), "lime")])


def encode_gif():
    frames = [Image.fromarray(SMOOTH).quantize(32), Image.new("P", (24, 24))]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


EXACT = {  # as near to lossless as each format comes; HEIF and AVIF round to YCbCr
    "WEBP": {"lossless": True, "exact": True},
    "HEIF": {"quality": -1, "chroma": 444},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def measure_difference(image, expected):
    return int(np.abs(image.astype(int) - np.asarray(expected).astype(int)).max())


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


# Transparency


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_transparent_pixels_lie_over_white(format):
    alpha = np.repeat(np.array([[[0], [51], [255]]], np.uint8), 2, axis=0)
    rgba = np.concatenate([np.full((2, 3, 3), [10, 20, 250], np.uint8), alpha], axis=2)
    row = decode_image(encode(rgba, format, **EXACT.get(format, {})))[:1]
    expected = [[[255, 255, 255], [206, 208, 254], [10, 20, 250]]]
    assert measure_difference(row, expected) <= (1 if format in ("HEIF", "AVIF") else 0)


def test_premultiplied_alpha():
    rgba = np.dstack([SMOOTH, SMOOTH[..., :1]])
    premultiplied = encode(Image.fromarray(rgba).convert("RGBa"), "HEIF", **EXACT["HEIF"])
    assert Image.open(io.BytesIO(premultiplied)).mode == "RGBa"
    assert measure_difference(decode_image(premultiplied), decode_image(encode(rgba))) <= 3


def test_opaque_alpha_changes_nothing():
    rgba = np.dstack([NOISE, np.full(NOISE.shape[:2], 255, np.uint8)])
    assert np.array_equal(decode_image(encode(rgba)), NOISE)


@pytest.mark.parametrize(("format", "transparency"), [("PNG", 0), ("PNG", b"\0\xff"), ("GIF", 0)])
def test_a_palette_with_transparency(format, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 50, 60, 70])
    image.putpixel((1, 0), 1)
    row = decode_image(encode(image, format, transparency=transparency))[0].tolist()
    assert row == [[255, 255, 255], [50, 60, 70]]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_colour_that_counts_as_transparent(mode, key):
    image = Image.new(mode, (2, 1), key)
    image.putpixel((1, 0), 1 if mode == "1" else 200 if mode == "L" else (200, 200, 200))
    row = decode_image(encode(image, transparency=key))[0, :, 0].tolist()
    assert row == [255, 255 if mode == "1" else 200]


# Orientation

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def encode_turned(format, orientation, pixels=NOISE):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif = exif.tobytes() if format == "HEIF" else exif  # pillow_heif looks into bytes only
    return encode(pixels, format, exif=exif, **EXACT.get(format, {}))


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_orientation(format, orientation):
    stored = decode_image(encode_turned(format, 1))
    expected = UPRIGHT[orientation](stored)
    assert np.array_equal(decode_image(encode_turned(format, orientation)), expected)


def with_exif_and_xmp(format, turn, orientation):
    """Encode a picture that its container turns one way; EXIF and XMP name an orientation.

    The encoders make an orientation in EXIF or XMP the container's: it is put in afterwards.
    """
    exif = Image.Exif()
    exif[0x0112], exif[0x0103] = turn, orientation
    xmp = f'<x tiff:0rientation="{orientation}"/>'.encode()
    data = encode(SMOOTH, format, exif=exif.tobytes(), xmp=xmp, **EXACT[format])
    entries = [struct.pack(">HHIH", tag, 3, 1, orientation) for tag in (0x0103, 0x0112)]
    assert (data.count(entries[0]), data.count(xmp)) == (1, 1)
    return data.replace(*entries).replace(b"tiff:0", b"tiff:O")


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_what_exif_says_beside_the_container_is_a_copy_of_it(format, turn):
    """Turn the picture by the container's properties alone, as ISO/IEC 23008-12 says."""
    upright = UPRIGHT[turn](decode_image(with_exif_and_xmp(format, 1, 1)))
    for orientation in {1, 6, turn}:
        assert np.array_equal(decode_image(with_exif_and_xmp(format, turn, orientation)), upright)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_xmp_alone_turns_neither_heif_nor_avif(format):
    plain = encode(SMOOTH, format, xmp=b'<x tiff:0rientation="6"/>')
    with_orientation = plain.replace(b"tiff:0", b"tiff:O")
    assert with_orientation != plain
    assert np.array_equal(decode_image(with_orientation), decode_image(plain))


def test_a_heif_is_turned_once_whatever_xmp_looks_like():
    """The encoder turns by XMP; Pillow would too, where the reader of HEIF fails to remove it."""
    xmp = b"<tiff:Orientation>6 </tiff:Orientation>"
    data = encode(SMOOTH, "HEIF", xmp=xmp, **EXACT["HEIF"])
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == 6
    assert np.array_equal(
        decode_image(data), np.rot90(decode_image(encode_turned("HEIF", 1, SMOOTH)), -1)
    )


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_deep_grey_and_masks_are_turned_too(orientation):
    grey = NOISE[..., 0].astype(np.uint16) * 257
    expected = UPRIGHT[orientation](NOISE[..., 0])
    assert np.array_equal(decode_image(encode_turned("PNG", orientation, grey))[..., 0], expected)
    assert np.array_equal(decode_mask(encode_turned("PNG", orientation, grey)), expected > 127)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_broken_exif_is_no_orientation(format, exif):
    whole = decode_image(encode(NOISE, format))
    assert np.array_equal(decode_image(encode(NOISE, format, exif=exif)), whole)


def test_an_odd_tag_beside_the_orientation():
    """A camera's make that is a float: Pillow's own exif_transpose raises on it."""
    tags = struct.pack("<HHIf", 0x010F, 11, 1, 1.5) + struct.pack("<HHII", 0x0112, 3, 1, 6)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + tags + bytes(4)
    data = encode(NOISE, "JPEG", exif=exif)
    with pytest.raises(AttributeError):
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode_image(data), np.rot90(decode_image(encode(NOISE, "JPEG")), -1))


# Colour profiles


def make_icc(space, tags, pcs=b"XYZ ", device=b"mntr"):
    """Make a version 2 profile: 128 bytes of header, a table of tags, their data."""
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    white = struct.pack(">3i", *[round(v * 65536) for v in (0.9642, 1, 0.8249)])
    head = struct.pack(">II4s4s4s4s", offset + len(body), 0, b"\x02\x10\0\0", device, space, pcs)
    head += bytes(12) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\0") + table + body


def make_xyz(*values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *[round(v * 65536) for v in values])


def make_curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


# Columns: red, green, blue in XYZ, adapted to D50. From Adobe's specification of Adobe RGB (1998)
# and from Lindbloom's table for sRGB.
ADOBE = [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
SRGB = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]


def matrix_profile(columns, tone):
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    tags = {
        name: make_xyz(*column) for name, column in zip(names, np.transpose(columns), strict=True)
    }
    return make_icc(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), tone))


def adobe_rgb():
    return matrix_profile(ADOBE, make_curve(563 / 256))


def sampled_srgb_curve():
    levels = np.linspace(0, 1, 1024)
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    samples = np.rint(linear * 65535).astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + samples


def to_srgb(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "HEIF", "AVIF"])
def test_a_wide_profile_becomes_srgb(format):
    options = EXACT.get(format, {})
    stored = decode_image(encode(SMOOTH, format, **options))
    linear = (stored / 255) ** (563 / 256)
    expected = to_srgb(linear @ (np.linalg.inv(SRGB) @ ADOBE).T)
    image = decode_image(encode(SMOOTH, format, icc_profile=adobe_rgb(), **options))
    assert measure_difference(image, SMOOTH) > 20
    assert measure_difference(image, np.rint(expected)) <= 2


def test_transparent_pixels_with_a_profile():
    rgba = np.dstack([SMOOTH, np.where(SMOOTH[..., 0] > 99, 255, 0)]).astype(np.uint8)
    image = decode_image(encode(rgba, icc_profile=adobe_rgb()))
    opaque = decode_image(encode(SMOOTH, icc_profile=adobe_rgb()))
    assert np.array_equal(image, np.where(rgba[..., 3:] > 0, opaque, 255))


@pytest.mark.parametrize("mode", ["L", "I;16", "LA"])
def test_a_grey_profile_becomes_srgb(mode):
    profile = make_icc(b"GRAY", {b"wtpt": make_xyz(0.9642, 1, 0.8249), b"kTRC": make_curve(1)})
    grey = SMOOTH[..., 0]
    image = Image.fromarray(grey.astype(np.uint16) * 257 if mode == "I;16" else grey)
    image = image.convert("LA") if mode == "LA" else image
    decoded = decode_image(encode(image, icc_profile=profile))
    assert measure_difference(decoded, np.rint(to_srgb(grey / 255))[..., None]) <= 1


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_cmyk_profile_is_used(format):
    """The profile says: black ink is black, the other inks are invisible."""
    ramp = bytes(range(256))
    table = b"".join(bytes([255 * (1 - entry % 2), 128, 128]) for entry in range(16))
    identity = struct.pack(">9i", *[65536, 0, 0, 0, 65536, 0, 0, 0, 65536])
    lut = b"mft1\0\0\0\0\x04\x03\x02\0" + identity + ramp * 4 + table + ramp * 3
    profile = make_icc(b"CMYK", {b"A2B0": lut}, pcs=b"Lab ", device=b"prtr")
    for ink, expected in (((255, 90, 0, 0), 255), ((0, 0, 0, 255), 0)):
        data = encode(Image.new("CMYK", (8, 8), ink), format, icc_profile=profile, quality=95)
        assert measure_difference(decode_image(data), np.full((8, 8, 3), expected)) <= 3


def test_an_srgb_profile_of_whatever_make_keeps_every_bit():
    every = np.arange(2**18).reshape(512, 512, 1) >> np.array([0, 5, 10])
    every = every.astype(np.uint8)
    builtin = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (builtin, matrix_profile(SRGB, sampled_srgb_curve())):
        assert np.array_equal(decode_image(encode(every, icc_profile=profile)), every)


@pytest.mark.parametrize(
    "profile", [b"junk" * 50, adobe_rgb()[:200], make_icc(b"CMYK", {}), make_icc(b"RGB ", {})]
)
def test_an_unusable_profile_is_ignored(profile):
    assert np.array_equal(decode_image(encode(NOISE, icc_profile=profile)), NOISE)


# Broken and hostile files

WHOLE = {
    "jpeg": encode(SMOOTH, "JPEG"),
    "progressive": encode(SMOOTH, "JPEG", progressive=True),
    "mpo": encode_mpo(),
    "png": encode(SMOOTH),
    "webp": encode(SMOOTH, "WEBP"),
    "webp lossless": encode(SMOOTH, "WEBP", lossless=True),
    "tiff": encode(SMOOTH, "TIFF"),
    "tiff lzw": encode(SMOOTH, "TIFF", compression="tiff_lzw"),
    "gif": encode_gif(),
    "bmp": encode(SMOOTH, "BMP"),
    "heic": encode_turned("HEIF", 6, SMOOTH),
    "avif": encode_turned("AVIF", 6, SMOOTH),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_refused_or_complete(name):
    whole = decode_image(WHOLE[name])
    size = len(WHOLE[name])
    refused = 0
    for cut in random.Random(name).sample(range(size), min(size, 300)):
        try:
            assert np.array_equal(decode_image(WHOLE[name][:cut]), whole), cut
        except ImageError:
            refused += 1
    assert refused > 50


def test_a_flipped_bit_in_png_pixels_is_refused():
    data = WHOLE["png"]
    start, end = data.index(b"IDAT") + 4, data.index(b"IEND") - 4
    for place in random.Random(1).sample(range(start, end), 40):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        with pytest.raises(ImageError):
            decode_image(bytes(broken))


def decode_or_reason(decode, data, **options):
    """Return the array, or the reason why there is none; any other exception is a failed test."""
    try:
        return decode(data, **options)
    except ImageError as error:
        return str(error)


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"]),
    st.binary(max_size=200),
)
@settings(max_examples=300, deadline=None)
def test_garbage_is_an_image_error(magic, garbage):
    for decode in (decode_image, decode_mask):
        result = decode_or_reason(decode, magic + garbage)
        assert isinstance(result, np.ndarray) or result.isprintable()


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_an_image_or_an_image_error(name, changes):
    data = bytearray(WHOLE[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    result = decode_or_reason(decode_image, bytes(data), max_megapixels=1)
    assert result.isprintable() if isinstance(result, str) else result.shape[2:] == (3,)


JPEGS = {
    "plain": WHOLE["jpeg"],
    "progressive": WHOLE["progressive"],
    "MPO": WHOLE["mpo"],
    "grey": encode(SMOOTH[..., 0], "JPEG"),
    "odd sides": encode(NOISE, "JPEG", subsampling="4:2:0"),
    "4:1:1": encode(NOISE, "JPEG", subsampling="4:1:1"),
    "4:2:2": encode(NOISE, "JPEG", subsampling="4:2:2", quality=30),
    "restarts": encode(SMOOTH, "JPEG", restart_marker_blocks=1),
    "stored as RGB": encode(SMOOTH, "JPEG", keep_rgb=True),
    "more behind it": WHOLE["jpeg"] + WHOLE["png"],
    "sRGB": encode(SMOOTH, "JPEG", icc_profile=matrix_profile(SRGB, sampled_srgb_curve())),
    "wide": encode(SMOOTH, "JPEG", icc_profile=adobe_rgb()),
    "turned": encode_turned("JPEG", 7),
}
BY_PILLOW = {
    "CMYK": encode(SMOOTH, "JPEG", mode="CMYK"),
    "grey with a profile": encode(
        SMOOTH[..., 0],
        "JPEG",
        icc_profile=make_icc(
            b"GRAY", {b"wtpt": make_xyz(0.9642, 1, 0.8249), b"kTRC": make_curve(1)}
        ),
    ),
    "a restart that is missing": JPEGS["restarts"].replace(b"\xff\xd1", b""),
    "without its last byte": WHOLE["jpeg"][:-1],
}


def decode_by_pillow(data):
    def fail(*_, **__):
        raise ValueError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bgexp.images.decode.decode_jpeg", fail)
        return decode_or_reason(decode_image, data, max_megapixels=1)


@pytest.mark.parametrize("name", JPEGS)
def test_a_whole_jpeg_needs_no_load_by_pillow(monkeypatch, name):
    expected = decode_by_pillow(JPEGS[name])
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", lambda _: pytest.fail("loaded"))
    image = decode_image(JPEGS[name])
    assert image.flags.writeable
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("name", BY_PILLOW)
def test_of_other_jpegs_pillow_has_the_last_word(monkeypatch, name):
    expected, loads = decode_by_pillow(BY_PILLOW[name]), []
    load = JpegImagePlugin.JpegImageFile.load
    monkeypatch.setattr(
        JpegImagePlugin.JpegImageFile, "load", lambda image: loads.append(1) or load(image)
    )
    assert np.array_equal(decode_or_reason(decode_image, BY_PILLOW[name]), expected)
    assert loads


@given(
    st.sampled_from(sorted(JPEGS | BY_PILLOW)),
    st.floats(0, 2),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=300, deadline=None)
def test_damaged_jpegs_fare_as_with_pillow_alone(name, end, changes):
    data = bytearray((JPEGS | BY_PILLOW)[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    data = bytes(data[: int(end * len(data))])
    assert np.array_equal(
        decode_or_reason(decode_image, data, max_megapixels=1), decode_by_pillow(data)
    )


@pytest.mark.parametrize(
    "error", [SyntaxError("a\nb\x1b[31m"), ValueError(), KeyError(3), EOFError()]
)
def test_whatever_pillow_raises_is_one_line(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageError, match=r"^broken: .") as caught:
        decode_image(WHOLE["bmp"])
    assert str(caught.value).isprintable()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


@pytest.mark.parametrize(
    "error", [OSError("Unsupported BMP bitfields layout"), NotImplementedError("CMYK")]
)
def test_what_is_not_supported_is_not_called_broken(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ImageError, match=r"^not supported: ") as caught:
        decode_image(WHOLE["bmp"])
    assert not caught.value.damaged


def test_an_avif_over_the_decoders_limit_is_too_large_and_not_broken():
    sides = (17000).to_bytes(4) * 2
    data = b"\0\0\0\x1cftypavif" + bytes(20) + b"\0\0\0\x14ispe" + bytes(4) + sides
    with pytest.raises(ImageError, match=r"^too large: 17000x17000 = 289 megapixels") as caught:
        decode_image(data)
    assert not caught.value.damaged
    with pytest.raises(ImageError, match=r"^not an image") as caught:
        decode_image(data.replace(b"ispe", b"pixi"))
    assert caught.value.damaged


def test_want_of_memory_is_no_fault_of_the_image(monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(MemoryError):
        decode_image(WHOLE["bmp"])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "^empty: no bytes$"),
        (b"I am only called x.jpg", "^not an image of an accepted format .JPEG, MPO, PNG"),
        (WHOLE["bmp"][:-9], r"^truncated: image file is truncated \(\d+ bytes not processed\)$"),
        (WHOLE["png"][:70], "^truncated: image file is truncated$"),
        (encode(SMOOTH, "HEIF")[:-9], "^truncated: Invalid input: Unexpected end of file"),
        (WHOLE["avif"][:-9], "^truncated: Failed to decode frame 0: Truncated data"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode_image(data)


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        *[encode(SMOOTH, format) for format in ("PDF", "ICO", "PPM", "TGA", "PCX", "JPEG2000")],
    ],
)
def test_other_formats_never_reach_a_decoder(monkeypatch, data):
    def reached(*_):
        pytest.fail("a decoder of a format that is not accepted")

    Image.init()
    for name in set(Image.OPEN) - set(FORMATS):
        monkeypatch.setitem(Image.OPEN, name, (reached, None))
    with pytest.raises(ImageError, match="not an image of an accepted format"):
        decode_image(data)


def test_a_bomb_is_refused_from_its_header():
    bomb = b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
    start = time.perf_counter()
    for decode in (decode_image, decode_mask):
        with pytest.raises(
            ImageError, match=r"^too large: 65535x65535 = 4295 megapixels, the limit"
        ):
            decode(bomb)
    assert time.perf_counter() - start < 1


def with_size_in_header(format, pixels, width, height):
    data = encode(pixels, format)
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", width, height) + data[place + 8 :]


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_a_large_heif_or_avif_is_refused_before_it_is_decoded(monkeypatch, format):
    for plugin in (pillow_heif.HeifImageFile, AvifImagePlugin.AvifImageFile):
        monkeypatch.setattr(plugin, "load", lambda _: pytest.fail("decoded"))
    bomb = with_size_in_header(format, np.zeros((64, 64, 3), np.uint8), 15000, 16000)
    with pytest.raises(ImageError, match=r"^too large: 15000x16000 = 240 megapixels, the limit"):
        decode_image(bomb)


def test_no_more_pixels_come_out_than_the_header_of_a_heif_or_avif_promised():
    large = np.zeros((960, 960, 3), np.uint8)
    lying = with_size_in_header("AVIF", large, 64, 64)
    assert decode_image(lying, max_megapixels=0.01).shape == (64, 64, 3)  # libavif scales
    with pytest.raises(ImageError, match=r"^broken: .* exceeds the maximum image size"):
        decode_image(with_size_in_header("HEIF", large, 64, 64), max_megapixels=0.01)


def test_a_heif_that_decodes_to_another_size_is_broken():
    data = encode(np.tile(SMOOTH, (2, 2, 1)), "HEIF")
    place = data.index(b"clap") + 4  # the part of the coded 64x64 that counts
    clap = struct.unpack(">8i", data[place : place + 32])
    assert clap == (48, 1, 48, 1, -16, 2, -16, 2)  # width, height, offset of the centre
    moved = struct.pack(">8i", *clap[:6], -256, 2)
    with pytest.raises(ImageError, match=r"^broken: 48x48 by its header, 48x\d+ by its pixels$"):
        decode_image(data[:place] + moved + data[place + 32 :])


def test_the_limit_is_ours_and_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # warns over 50 pixels, raises over 100
    assert decode_image(encode(NOISE)).shape == NOISE.shape
    assert Image.MAX_IMAGE_PIXELS == 50
    pixels = NOISE.shape[0] * NOISE.shape[1]
    assert decode_image(encode(NOISE), max_megapixels=pixels / 1e6).shape == NOISE.shape
    with pytest.raises(
        ImageError, match=r"too large: 13x9 = 0.000117 megapixels, the limit is 0.0001"
    ):
        decode_image(encode(NOISE), max_megapixels=1e-4)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_threads_stay_quiet_and_restore_what_is_global(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    corrupt_exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06"
    files = [encode(NOISE, "JPEG", exif=corrupt_exif), WHOLE["heic"], WHOLE["avif"]]
    expected = [decode_image(data) for data in files]
    before = list(warnings.filters)
    failures = []

    def work():
        try:
            for data, image in zip(files * 20, expected * 20, strict=True):
                assert np.array_equal(decode_image(data), image)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warnings.filters == before
    assert Image.MAX_IMAGE_PIXELS == 50


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


# Encoding


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros(3, np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
    ],
)
def test_a_mask_of_something_else(image):
    with pytest.raises(ValueError, match="expected"):
        encode_mask(image)


def test_jpeg_is_near_and_small():
    wave = np.sin(np.mgrid[:60, :80] / 9).sum(0)
    smooth = (127 + 60 * wave[..., None] * (1.0, 0.5, -1.0)).round().astype(np.uint8)
    data = encode_jpeg(smooth)
    assert np.abs(decode_image(data).astype(int) - smooth).mean() < 3
    assert len(data) < smooth.size / 6


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 4), (0, 2, 3), (2, 2, 3)])
def test_jpeg_of_something_else(shape):
    image = np.zeros(shape, np.float32 if shape == (2, 2, 3) else np.uint8)
    with pytest.raises(ValueError, match="expected"):
        encode_jpeg(image)


def test_a_mask_without_pixels_is_refused():
    with pytest.raises(ValueError, match="expected"):
        encode_mask(np.zeros((0, 2), bool))


# Masks


@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
@settings(max_examples=150, deadline=None)
def test_a_mask_survives(mask):
    data = encode_mask(mask)
    assert np.array_equal(decode_mask(data), mask)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.where(mask, 255, 0))


MASK = np.random.default_rng(3).random((7, 5)) > 0.5


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK"])
def test_masks_of_other_people(mode):
    grey = Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8))
    image = Image.fromarray(np.where(MASK, 65535, 0).astype(np.uint16)) if mode == "I;16" else None
    data = encode(image or grey.convert(mode), "TIFF")
    assert np.array_equal(decode_mask(data), MASK)


def test_the_threshold_is_127():
    assert decode_mask(encode(np.array([[0, 127, 128, 255]], np.uint8))).tolist() == [
        [False, False, True, True]
    ]


def test_a_varying_alpha_is_the_mask():
    alpha = np.where(MASK, 200, 20).astype(np.uint8)
    for colour in (np.zeros((7, 5, 3), np.uint8), np.full((7, 5, 3), 255, np.uint8)):
        assert np.array_equal(decode_mask(encode(np.dstack([colour, alpha]))), MASK)
    for constant in (0, 255):
        colour = np.where(MASK, 255, 0).astype(np.uint8)
        rgba = np.dstack([colour] * 3 + [np.full((7, 5), constant, np.uint8)])
        assert np.array_equal(decode_mask(encode(rgba)), MASK)


# Thumbnails


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.sampled_from([(), (3,), (4,)])
)
@settings(max_examples=100, deadline=None)
def test_a_thumbnail_fits(height, width, size, channels):
    image = np.full((height, width, *channels), 255, np.uint8)
    small = thumbnail(image, size)
    assert max(small.shape[:2]) == min(size, max(height, width))
    assert small.shape[2:] == channels
    assert small.min() == 255
    if max(height, width) <= size:
        assert np.array_equal(small, image)


def test_a_thumbnail_averages_areas():
    blocks = NOISE[:8, :12].reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert measure_difference(thumbnail(NOISE[:8, :12], 6), np.rint(blocks)) <= 1
