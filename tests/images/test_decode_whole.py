"""What has all its pixels is whole; what a decoder would pad or invent is broken."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from bgexp.images.bmff_items import check_zeros
from bgexp.images.decode import ImageError, decode_image, decode_mask
from bgexp.images.metadata import read_metadata
from bgexp.images.png import SIGNATURE, make_chunk
from tests.images.pictures import NOISE, SMOOTH, encode, encode_mpo
from tests.images.profiles import adobe_rgb

END = b"\xff\xd9"
PHOTO = np.asarray(Image.fromarray(SMOOTH).resize((160, 120), Image.Resampling.BICUBIC))
LARGE = np.asarray(Image.fromarray(PHOTO).resize((480, 360)).rotate(9))
HEICS = {format: encode(LARGE, format) for format in ("HEIF", "AVIF")}
JPEGS = {
    "plain": encode(PHOTO, "JPEG"),
    "optimized": encode(PHOTO, "JPEG", optimize=True, quality=10),
    "progressive": encode(PHOTO, "JPEG", progressive=True),
    "restarts": encode(PHOTO, "JPEG", restart_marker_blocks=3),
    "CMYK": encode(PHOTO, "JPEG", mode="CMYK"),
    "grey": encode(PHOTO[..., 0], "JPEG"),
}


def assert_whole(data, like):
    assert np.array_equal(decode_image(data), decode_image(like))


def find_reason(data, decode=decode_image):
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert caught.value.damaged != str(caught.value).startswith(("not supported", "too large"))
    return str(caught.value)


# -- JPEG ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_is_whole_without_its_end_and_with_padding(name):
    data = JPEGS[name]
    assert data.endswith(END)
    pixels = data[:-2]
    for whole in (
        pixels,
        data[:-1],
        pixels + bytes(512) + END,
        pixels + bytes(512),
        pixels + b"\xff" * 99 + END,
        pixels + b"abc" + END,
        data + b"a trailer" * 99,
        data[:20] + b"\0\0\0" + data[20:] if name != "CMYK" else data,
        data.replace(b"JFIF\0\1", b"JFIF\0\3"),
    ):
        assert_whole(whole, data)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("end", [b"", END])
def test_a_jpeg_is_broken_where_pixels_are_missing(name, end):
    data = JPEGS[name]
    for cut in (3, 4, len(data) // 10, len(data) // 3):
        reason = find_reason(data[:-cut] + end)
        assert reason.startswith(("truncated: ", "broken: found marker 0xd9 instead of RST"))
        assert find_reason(data[:-cut] + end, decode_mask) == reason


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize(("first", "last"), [(0.6, 1), (0.5, 0.7), (0.9, 1), (0.7, 0.8)])
def test_a_jpeg_is_broken_where_zeros_stand_in_place_of_data(name, first, last):
    data = JPEGS[name]
    first, last = int(first * len(data)), int(last * len(data))
    hole = data[:first] + bytes(last - first) + data[last:]
    for broken in (hole, hole + END):
        assert find_reason(broken).startswith(("truncated: ", "broken: "))


def test_zeros_that_are_data_are_whole():
    dark = np.zeros((800, 800, 3), np.uint8)
    dark[:8, :80] = np.resize(NOISE, (8, 80, 3))
    data = encode(dark, "JPEG", optimize=True)
    assert bytes(300) in data
    assert_whole(data[:-2], data)


def test_a_progressive_jpeg_is_broken_without_its_last_scans():
    data = JPEGS["progressive"]
    starts = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(starts) == 10
    for start in starts[1:]:
        table = data.rfind(b"\xff\xc4", 0, start)  # Huffman tables stand in front of some scans
        assert find_reason(data[:start] + END) == "truncated: scans are missing"
        assert find_reason(data[:table]) == "truncated: scans are missing"


def test_a_jpeg_of_several_scans_is_broken_without_one():
    """Take the third colour out of the frame's only scan: no decoder warns of that."""
    data = JPEGS["plain"]
    place = data.index(b"\xff\xda")
    assert data[place + 4] == 3
    scan = b"\xff\xda\0\x0a\2" + data[place + 5 : place + 9] + data[place + 11 : place + 14]
    assert find_reason(data[:place] + scan + data[place + 14 :]) == "truncated: scans are missing"


def test_an_mpo_is_whole_whatever_became_of_its_second_picture():
    data = encode_mpo()
    second = data.index(END + b"\xff\xd8") + 2
    for whole in (
        data[: second + (len(data) - second) // 2],
        data[:second],
        data[: second - 2],
        data[: second + 100] + bytes(len(data) - second - 100),
    ):
        assert_whole(whole, data)
    assert find_reason(data[: second - 20]).startswith("truncated: ")


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xCF])
def test_a_jpeg_of_another_process_is_not_supported(marker):
    data = JPEGS["plain"].replace(b"\xff\xc0", bytes((0xFF, marker)))
    assert find_reason(data) == f"not supported: its process, marker {marker:#x}"


def test_a_jpeg_of_12_bits_is_not_supported():
    place = JPEGS["plain"].index(b"\xff\xc0") + 4
    data = JPEGS["plain"][:place] + b"\x0c" + JPEGS["plain"][place + 1 :]
    assert find_reason(data) == "not supported: cannot handle 12-bit layers"


# -- PNG -------------------------------------------------------------------------------------


def build_png(rows, *chunks, interlaced=0, size=(13, 9)):
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, interlaced)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return SIGNATURE + b"".join(b"".join(make_chunk(*part)) for part in parts)


ROWS = b"".join(b"\0" + row.tobytes() for row in NOISE)
PNG = build_png(ROWS)
TEXT = b"".join(make_chunk(b"tEXt", b"a\0b"))


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"a\0" + b"x" * (3 << 20)),
        (b"zTXt", b"a\0\0" + zlib.compress(b"x" * (80 << 20))),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (3 << 20))),
        (b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(80 << 20))),
        (b"zTXt", b"Raw profile type exif\0\0no zlib stream"),
        (b"iCCP", b"a\0\0" + zlib.compress(bytes(80 << 20))),
        (b"iCCP", b"a\0\0no zlib stream"),
        (b"gAMA", b"x"),
        (b"acTL", b"x"),
    ],
    ids=lambda chunk: f"{chunk[0].decode()}, {len(chunk[1])} bytes",
)
def test_a_png_is_whole_whatever_stands_beside_its_pixels(chunk):
    assert np.array_equal(decode_image(build_png(ROWS, chunk)), NOISE)


def test_a_png_is_whole_with_many_texts_that_expand():
    text = (b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(1 << 20)))
    assert np.array_equal(decode_image(build_png(ROWS, *[text] * 70)), NOISE)


def test_a_png_keeps_the_colours_of_a_large_profile():
    profile = adobe_rgb() + bytes(2 << 20)
    ImageCms.getOpenProfile(io.BytesIO(profile))
    small, large = (
        decode_image(encode(SMOOTH, icc_profile=data)) for data in (adobe_rgb(), profile)
    )
    assert np.array_equal(large, small)
    assert not np.array_equal(large, SMOOTH)


def test_a_png_is_whole_with_broken_texts_and_without_its_end():
    wrong = TEXT[:-1] + bytes([TEXT[-1] ^ 1])
    for data in (
        PNG[:33] + wrong + PNG[33:],
        PNG[:-12] + wrong + PNG[-12:],
        PNG[:-12] + TEXT[:-3],
        PNG[:-12],
        PNG[:-4],
        PNG[:-14],  # in the checksum of the pixels
        PNG[:-1] + b"x",
        PNG + b"a trailer" * 99,
        PNG[:-12] + bytes(500),
        build_png(ROWS + bytes(100)),
    ):
        assert np.array_equal(decode_image(data), NOISE)


@pytest.mark.parametrize("n", [1, 40, len(ROWS) // 2, len(ROWS) - 1])
def test_a_png_is_broken_where_its_rows_end_early(n):
    assert find_reason(build_png(ROWS[:-n])) == "truncated: rows are missing"


def test_an_interlaced_png_is_whole_or_broken():
    levels = NOISE[:8, :8, 0]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    rows = b""
    for top, left, down, across in [*passes, (1, 0, 2, 1)]:
        rows += b"".join(b"\0" + row.tobytes() for row in levels[top::down, left::across])
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)

    def build(rows):
        parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
        return SIGNATURE + b"".join(b"".join(make_chunk(*part)) for part in parts)

    assert np.array_equal(decode_image(build(rows))[..., 0], levels)
    for n in (1, 9, 30):
        assert find_reason(build(rows[:-n])) == "truncated: rows are missing"


def test_a_png_is_broken_where_a_needed_chunk_is():
    for kind in (b"IHDR", b"IDAT"):
        place = PNG.index(kind) + 6
        broken = PNG[:place] + bytes([PNG[place] ^ 1]) + PNG[place + 1 :]
        assert find_reason(broken) == f"broken: wrong checksum of chunk {kind.decode()}"


def test_a_png_of_another_kind_is_not_supported():
    assert find_reason(build_png(ROWS, (b"CgBI", b"\0\0\0\1"))) == "not supported: chunk CgBI"


def test_the_header_of_a_png_is_read_without_its_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [Image.new("RGB", (13, 9))]}
    data = encode(NOISE, exif=exif, dpi=(72, 72), **frames)
    metadata = read_metadata(io.BytesIO(data[: data.index(b"IDAT") + 10]))
    assert (metadata.width, metadata.height, metadata.orientation) == (13, 9, 6)
    assert (metadata.frames, metadata.fields["dpi"][:3]) == (2, "72.")


# -- TIFF ------------------------------------------------------------------------------------


def build_tiff(pixels=bytes(range(8, 56)), **changes):
    """An uncompressed TIFF of 8x6 grey pixels in one strip, with other values of its tags."""
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "colours": 262}
    tags |= {"offsets": 273, "samples": 277, "rows": 278, "sizes": 279, "planes": 284, "kind": 339}
    values = {"width": 8, "height": 6, "bits": 8, "compression": 1, "colours": 1, "offsets": 8}
    values |= {"samples": 1, "rows": 6, "sizes": 48} | changes
    directory, extra = struct.pack("<H", len(values)), b""
    behind = 8 + len(pixels) + 2 + 12 * len(values) + 4
    for tag, value in sorted((tags[name], value) for name, value in values.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", behind + len(extra)), extra + packed
        directory += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + bytes(4) + extra


def test_a_tiff_is_whole():
    levels = np.arange(8, 56, dtype=np.uint8).reshape(6, 8)
    strips = {"rows": 4, "offsets": (8, 40), "sizes": (32, 16)}
    for data in (build_tiff(), build_tiff(sizes=0), build_tiff(rows=99), build_tiff(**strips)):
        assert np.array_equal(decode_image(data)[..., 0], levels)
    planes = {"samples": 3, "bits": (8, 8, 8), "colours": 2, "planes": 2, "height": 2, "rows": 2}
    planes |= {"offsets": (8, 24, 40), "sizes": (16, 16, 16)}
    colours = decode_image(build_tiff(**planes))
    assert np.array_equal(np.moveaxis(colours, 2, 0).ravel(), levels.ravel())


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 4},  # one of two strips
        {"height": 600, "rows": 6},
        {"height": 600, "rows": 600},
        {"rows": 4, "offsets": (8, 40), "sizes": (32, 0)},
        {"rows": 4, "offsets": (8, 0), "sizes": (32, 16)},
        {"rows": 4, "offsets": (8, 5000), "sizes": (32, 16)},
        {"rows": 4, "offsets": (8, 40), "sizes": (31, 16)},
        {"sizes": 47},
        {"samples": 3, "bits": (8, 8, 8), "colours": 2, "planes": 2},
    ],
)
def test_a_tiff_is_broken_where_rows_are_missing(changes):
    assert find_reason(build_tiff(**changes)).startswith("truncated: rows are missing")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_a_tiff_that_is_cut_short_is_broken(compression):
    data = encode(PHOTO, "TIFF", compression=compression)
    for n in (1, 20, len(data) // 3, len(data) * 2 // 3):
        assert find_reason(data[:-n]).startswith(("truncated: ", "broken: "))


def test_a_tiff_is_broken_where_a_jpeg_in_it_is():
    data = encode(PHOTO, "TIFF", compression="jpeg")
    middle = len(data) * 4 // 10
    hole = data[:middle] + bytes(len(data) // 5) + data[middle + len(data) // 5 :]
    assert find_reason(hole).startswith(("truncated: ", "broken: "))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bits": 64, "kind": 3, "height": 1, "rows": 1}, "unknown pixel mode"),
        ({"bits": 16, "kind": 3, "height": 3, "rows": 3}, "unknown pixel mode"),
        ({"samples": 2, "height": 3, "rows": 3, "bits": (8, 8)}, "unknown pixel mode"),
        ({"samples": 8, "height": 1, "rows": 1}, "Invalid value for samples per pixel"),
        ({"compression": 34712}, "unknown value 34712"),
        ({"compression": 32809, "bits": 4}, "compression tiff_thunderscan"),
    ],
)
def test_a_tiff_of_another_kind_is_not_supported(changes, reason):
    assert find_reason(build_tiff(**changes)) == f"not supported: {reason}"


# -- WebP, GIF, BMP, HEIF --------------------------------------------------------------------


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_is_whole_without_what_follows_its_pixels(lossless):
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(PHOTO, "WEBP", exif=exif, xmp=b"x" * 5001, lossless=lossless)
    for whole in (data[:-1], data[:-4000], data + b"a trailer" * 99):
        assert_whole(whole, data)
    assert find_reason(data[:-5060]) == "truncated: it ends before its picture does"


@pytest.mark.parametrize("options", [{}, {"quality": 20}, {"lossless": True}])
def test_a_still_webp_has_the_pixels_that_pillow_reads(options):
    data = encode(PHOTO[:-1, :-2], "WEBP", **options)
    assert np.array_equal(
        decode_image(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


def test_an_animated_webp_is_whole_where_a_later_frame_is_cut_short():
    later = [Image.fromarray(PHOTO).rotate(turn) for turn in (90, 180)]
    data = encode(PHOTO, "WEBP", save_all=True, append_images=later)
    assert_whole(data[:-50], data)


@pytest.mark.parametrize("options", [{}, {"quality": 10}, {"lossless": True}])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_webp_is_broken_where_zeros_stand_in_place_of_data(options, share):
    data = encode(LARGE, "WEBP", **options)
    n = len(data) - max(80, int(len(data) * (1 - share)))
    assert find_reason(data[:n] + bytes(len(data) - n)).startswith("broken: ")


def test_a_webp_whose_zeros_are_data_is_whole():
    dark = np.zeros((1024, 1024, 3), np.uint8)
    dark[:99] = np.resize(NOISE, (99, 1024, 3))
    data = encode(dark, "WEBP", lossless=True, method=0)
    assert data.endswith(bytes(64))
    assert np.array_equal(decode_image(data), dark)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize(("first", "last"), [(0.4, 1), (0.7, 1), (0.5, 0.8)])
def test_a_heic_is_broken_where_zeros_stand_in_place_of_data(format, first, last):
    data = bytearray(encode(LARGE, format))
    part = slice(int(len(data) * first), int(len(data) * last))
    data[part] = bytes(part.stop - part.start)
    assert find_reason(bytes(data)).startswith("broken: ")


@pytest.mark.parametrize(
    ("format", "quality"), [("HEIF", -1), ("HEIF", 10), ("AVIF", 100), ("AVIF", 10)]
)
def test_a_dark_heic_is_whole(format, quality):
    dark = np.zeros((1024, 1024, 4), np.uint8)
    dark[:99, ..., :3] = np.resize(NOISE, (99, 1024, 3))
    assert decode_image(encode(dark, format, quality=quality)).shape == (1024, 1024, 3)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(["HEIF", "AVIF"]))
def test_damaged_boxes_end_soon(data, format):
    whole = bytearray(HEICS[format])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(4, 400))
        whole[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
    with suppress(ValueError):  # what the boxes say is odd, which is for the decoder to tell
        check_zeros(bytes(whole))


def test_a_gif_is_whole_without_its_end():
    data = encode(PHOTO, "GIF")
    for n in (1, 2):
        assert_whole(data[:-n], data)
    for n in (20, len(data) // 2):
        assert find_reason(data[:-n]).startswith("truncated: ")


def test_a_bmp_is_broken_where_a_byte_is_missing():
    assert find_reason(encode(PHOTO, "BMP")[:-1]).startswith("truncated: ")


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_heif_is_broken_where_it_is_cut_short(kind):
    data = encode(PHOTO, kind)
    for n in (1, len(data) // 9, len(data) // 2, len(data) - 40):
        assert find_reason(data[:-n]).startswith(("truncated: ", "broken: "))


def test_a_heif_of_another_codec_is_not_supported():
    data = encode(PHOTO, "HEIF").replace(b"hvc1", b"vvc1")
    assert find_reason(data) == "not supported: none of its pictures is HEVC or AV1"
