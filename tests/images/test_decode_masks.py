import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bgexp.images.decode import decode_image, decode_mask, encode_jpeg, encode_mask
from tests.images.pictures import encode


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
