import io

import numpy as np
import pytest
from PIL import Image

from bgexp.images.decode import decode_image
from tests.images.pictures import EXACT, NOISE, SMOOTH, encode, measure_difference


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
