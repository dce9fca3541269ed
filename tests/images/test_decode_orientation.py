import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from bgexp.images.decode import decode_image, decode_mask
from tests.images.pictures import EXACT, NOISE, SMOOTH, UPRIGHT, encode, encode_turned


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
