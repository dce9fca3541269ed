import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from isal import isal_zlib
from PIL import Image, ImageCms

import bgexp.images.png
from bgexp.images.png import encode_png

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
PIXELS = st.one_of(
    *[
        arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), *channels))
        for channels in ([], [st.just(3)], [st.just(4)])
    ]
)


def decode(data):
    """Decode with Pillow, which also checks every checksum."""
    Image.open(io.BytesIO(data)).verify()
    return np.asarray(Image.open(io.BytesIO(data)))


@given(PIXELS, st.sampled_from([1, 60, 1 << 20]))
@settings(max_examples=150, deadline=None)
def test_it_is_lossless_and_deterministic(image, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bgexp.images.png, "_BLOCK", block)
        data = encode_png(image)
        assert encode_png(image.copy()) == data
    assert np.array_equal(decode(data), image)


def test_the_bytes_do_not_depend_on_addresses(monkeypatch):
    """ISA-L hashes one: a state that is kept moves the next ones, and shows it in most rounds."""
    kept, make = [], isal_zlib.compressobj

    def keep_state(**options):
        kept.append(make(**options))
        return kept[-1]

    monkeypatch.setattr(bgexp.images.png.isal_zlib, "compressobj", keep_state)
    images = [np.full((1, 600), value, np.uint8) for value in range(1, 256)]
    first = [encode_png(image) for image in images]
    for number in range(60):
        assert [encode_png(image) for image in images] == first
        del kept[number + 1 :]


def test_other_decoders_read_it():
    data = np.frombuffer(encode_png(NOISE), np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), NOISE)


def test_more_than_a_block():
    rng = np.random.default_rng(0)
    image = np.where(rng.random((1500, 1100, 1)) > 0.5, rng.integers(0, 256, (1, 1, 3)), 0)
    data = encode_png(image.astype(np.uint8))
    assert data.count(b"IDAT") > 3
    assert np.array_equal(decode(data), image)
    assert len(data) < image[..., 0].size


@pytest.mark.parametrize("view", [NOISE[::-2, ::3], NOISE.swapaxes(0, 1), NOISE[..., 1]])
def test_a_view(view):
    assert np.array_equal(decode(encode_png(view)), view)


def test_profile_and_exif():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    data = encode_png(NOISE, profile, exif.tobytes())
    assert np.array_equal(decode(data), NOISE)
    image = Image.open(io.BytesIO(data))
    assert image.info["icc_profile"] == profile
    assert dict(image.getexif()) == {0x010F: "a maker"}
    assert dict(Image.open(io.BytesIO(encode_png(NOISE))).info) == {}


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
def test_something_else(image):
    with pytest.raises(ValueError, match="expected"):
        encode_png(image)
