import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bgexp.images.decode import FORMATS, ImageError, decode_image, decode_mask
from tests.images.pictures import SMOOTH, WHOLE, decode_or_reason, encode


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
    assert refused > 40


def test_a_flipped_bit_in_png_pixels_is_refused():
    data = WHOLE["png"]
    start, end = data.index(b"IDAT") + 4, data.index(b"IEND") - 4
    for place in random.Random(1).sample(range(start, end), 40):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        with pytest.raises(ImageError):
            decode_image(bytes(broken))


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
        (WHOLE["png"][:70], "^truncated: rows are missing$"),
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
    def find_reached(*_):
        pytest.fail("a decoder of a format that is not accepted")

    Image.init()
    for name in set(Image.OPEN) - set(FORMATS):
        monkeypatch.setitem(Image.OPEN, name, (find_reached, None))
    with pytest.raises(ImageError, match="not an image of an accepted format"):
        decode_image(data)
