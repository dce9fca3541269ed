import struct
import threading
import time
import warnings
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
from PIL import AvifImagePlugin, Image
from PIL.JpegImagePlugin import MARKER

from bgexp.images.decode import (
    ImageError,
    decode_image,
    decode_mask,
    open_image,
    translate_errors,
)
from tests.images.pictures import NOISE, SMOOTH, WHOLE, encode


def test_an_avif_over_the_decoders_limit_is_too_large_and_not_broken():
    sides = (17000).to_bytes(4) * 2
    data = b"\0\0\0\x1cftypavif" + bytes(20) + b"\0\0\0\x14ispe" + bytes(4) + sides
    with pytest.raises(ImageError, match=r"^too large: 17000x17000 = 289 megapixels") as caught:
        decode_image(data)
    assert not caught.value.damaged
    with pytest.raises(ImageError, match=r"^(broken|truncated): ") as caught:
        decode_image(data.replace(b"ispe", b"pixi"))
    assert caught.value.damaged


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

    def decode_repeatedly():
        try:
            for data, image in zip(files * 20, expected * 20, strict=True):
                assert np.array_equal(decode_image(data), image)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=decode_repeatedly) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warnings.filters == before
    assert Image.MAX_IMAGE_PIXELS == 50


def test_of_exif_in_many_segments_the_first_megabyte_is_joined():
    jpeg = encode(np.zeros((8, 8, 3), np.uint8), "JPEG")
    segment = b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65533, b"x")
    many = jpeg[:2] + segment * 40 + jpeg[2:]
    before = dict(MARKER)
    with translate_errors():
        joined = open_image(BytesIO(many)).info["exif"]
    assert 2**20 < len(joined) < 2**20 + 2**17
    assert before == MARKER
    assert decode_image(many).shape == (8, 8, 3)
