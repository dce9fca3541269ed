import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from bgexp.images.decode import decode_image
from tests.images.pictures import EXACT, NOISE, SMOOTH, encode, measure_difference
from tests.images.profiles import (
    ADOBE,
    SRGB,
    adobe_rgb,
    make_curve,
    make_icc,
    make_xyz,
    matrix_profile,
    sampled_srgb_curve,
)


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
