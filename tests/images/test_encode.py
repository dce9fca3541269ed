import io

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from bgexp.config.batch import KeptMetadata
from bgexp.images.decode import ImageError, decode_image
from bgexp.images.encode import JPEG_QUALITY, SUFFIX, Photo, decode_photo, encode_result

NOISE = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(*[np.linspace(40, 220, 24)] * 2), -1).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, SMOOTH[::-1, :, :1]], axis=2)
ALPHA = np.dstack([NOISE, np.where(NOISE[..., 0] > 127, 255, 0).astype(np.uint8)])
NOTHING = Photo(NOISE)
BASE, GPS = ExifTags.Base, ExifTags.GPS


def make_wide_profile():
    """Make a matrix profile whose colours are far from sRGB: red and green are swapped."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


PROFILE = make_wide_profile()


def make_exif():
    """Make EXIF with all tags that must not be kept, and some that may be."""
    exif = Image.Exif()
    exif.update({BASE.Make: "Canon", BASE.Orientation: 6, BASE.Copyright: "me"})
    exif.update({BASE.ImageDescription: "place secret", BASE.Artist: "name secret"})
    exif.update({BASE.XPComment: b"comment secret", BASE.HostComputer: "computer secret"})
    exif.update({BASE.CameraSerialNumber: "serial secret", 0xC6D2: "of a later day: secret"})
    exif[0x02BC] = b"<xmp>secret</xmp>"
    exif[0x83BB] = b"iptc secret"
    exif[0x8649] = b"photoshop secret"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            BASE.LensModel: "50mm",
            BASE.FNumber: IFDRational(28, 10),
            BASE.MakerNote: b"maker secret",
            BASE.BodySerialNumber: "body secret",
            BASE.LensSerialNumber: "lens secret",
            BASE.CameraOwnerName: "owner secret",
            BASE.ImageUniqueID: "id secret",
            BASE.OffsetTime: "+01:secret",
            0xFDE8: "raw converter secret",
            BASE.UserComment: b"ASCII\0\0\0user secret",
            BASE.ExifImageWidth: 24,
            BASE.ExifImageHeight: 24,
        }
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 8.0, 0.0)}
        | {GPS.GPSAreaInformation: b"area secret"}
    )
    exif.get_ifd(ExifTags.IFD.IFD1).update({BASE.ImageDescription: "thumbnail secret"})
    return exif.tobytes()


def encode(image=SMOOTH, format="JPEG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


def open_result(data):
    return Image.open(io.BytesIO(data))


def read_exif(data):
    """Return the tags of a file, of its exposure, and of its place."""
    exif = open_result(data).getexif()
    gps = dict(exif.get_ifd(ExifTags.IFD.GPSInfo))
    return dict(exif), dict(exif.get_ifd(ExifTags.IFD.Exif)), gps


# -- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("photo", [NOTHING, Photo(NOISE, PROFILE), Photo(NOISE, b"", make_exif())])
@pytest.mark.parametrize("kind", ["png", "webp"])
@pytest.mark.parametrize("image", [NOISE, ALPHA], ids=["RGB", "RGBA"])
def test_png_and_webp_are_bit_equal(kind, image, photo):
    data = encode_result(image, kind, photo)
    result = open_result(data)
    assert result.format == kind.upper()
    assert np.array_equal(np.asarray(result), image)  # the colours of transparent pixels too
    assert encode_result(image.copy(), kind, photo) == data


def test_jpeg_is_close():
    data = encode_result(SMOOTH, "jpeg", NOTHING)
    assert open_result(data).format == "JPEG"
    assert np.abs(decode_image(data).astype(int) - SMOOTH).max() <= 4
    best = open_result(encode(quality=JPEG_QUALITY, subsampling=0))
    assert open_result(data).quantization == best.quantization
    assert open_result(data).layer == best.layer
    assert encode_result(SMOOTH, "jpeg", NOTHING) == data


@pytest.mark.parametrize("kind", SUFFIX)
def test_the_suffix_is_one_of_the_format(kind):
    image = open_result(encode_result(NOISE, kind, NOTHING))
    assert Image.registered_extensions()[SUFFIX[kind]] == image.format


@pytest.mark.parametrize(("kind", "longest"), [("webp", 16383), ("jpeg", 65500)])
def test_sides_that_a_format_cannot_hold(kind, longest):
    for shape in ((1, longest + 1, 3), (longest + 1, 1, 3)):
        with pytest.raises(ValueError, match=f"{longest + 1} pixels: a {kind} file holds at most"):
            encode_result(np.zeros(shape, np.uint8), kind, NOTHING)
    most = encode_result(np.zeros((1, longest, 3), np.uint8), kind, NOTHING)
    assert open_result(most).size == (longest, 1)


def test_a_png_holds_what_others_do_not():
    assert (
        open_result(encode_result(np.zeros((1, 70000, 3), np.uint8), "png", NOTHING)).width == 70000
    )


# -- colour profiles -----------------------------------------------------------------------------


def test_a_profile_is_not_kept_unless_asked_for():
    data = encode(NOISE, "PNG", icc_profile=PROFILE)
    photo = decode_photo(data, 200, KeptMetadata())
    assert (photo.icc, photo.exif) == (b"", b"")
    assert np.array_equal(photo.pixels, decode_image(data))
    assert not np.array_equal(photo.pixels, NOISE)
    for kind in SUFFIX:
        assert "icc_profile" not in open_result(encode_result(photo.pixels, kind, photo)).info


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_profile_is_kept_with_its_colours(kind):
    photo = decode_photo(encode(NOISE, "PNG", icc_profile=PROFILE), 200, KeptMetadata(icc=True))
    assert np.array_equal(photo.pixels, NOISE)
    assert open_result(encode_result(photo.pixels, kind, photo)).info["icc_profile"] == PROFILE


def test_with_its_profile_a_result_looks_the_same():
    data = encode(NOISE, "PNG", icc_profile=PROFILE)
    photo = decode_photo(data, 200, KeptMetadata(icc=True))
    assert np.array_equal(
        decode_image(encode_result(photo.pixels, "png", photo)), decode_image(data)
    )


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA"])
def test_only_the_profile_of_rgb_is_kept(mode):
    file = io.BytesIO()
    format = "TIFF" if mode == "CMYK" else "PNG"
    Image.fromarray(NOISE).convert(mode).save(file, format, icc_profile=PROFILE)
    photo = decode_photo(file.getvalue(), 200, KeptMetadata(icc=True))
    assert photo.icc == b""
    assert np.array_equal(photo.pixels, decode_image(file.getvalue()))


@pytest.mark.parametrize("keep", [KeptMetadata(), KeptMetadata(icc=True), KeptMetadata(exif=True)])
def test_what_cannot_be_decoded(keep):
    with pytest.raises(ImageError, match="truncated"):
        decode_photo(encode()[:-30], 200, keep)
    with pytest.raises(ImageError, match="too large"):
        decode_photo(encode(), 24 * 24 / 1e6 - 1e-5, keep)
    assert decode_photo(encode(), 24 * 24 / 1e6, keep).pixels.shape == (24, 24, 3)


# -- EXIF ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("kind", SUFFIX)
def test_exif_is_kept_without_what_may_betray(source, kind):
    data = encode(SMOOTH[:, :16], source, exif=make_exif())
    photo = decode_photo(data, 200, KeptMetadata(exif=True))
    assert photo.pixels.shape == (16, 24, 3)  # upright
    result = encode_result(photo.pixels, kind, photo)
    tags, exposure, place = read_exif(result)
    assert (tags[BASE.Make], exposure[BASE.LensModel]) == ("Canon", "50mm")
    assert float(exposure[BASE.FNumber]) == 2.8
    assert place == {}
    assert b"secret" not in result
    resolution = {BASE.XResolution, BASE.YResolution, BASE.ResolutionUnit}
    assert {BASE.Make, BASE.Copyright} <= set(tags)
    assert set(tags) <= {BASE.Make, BASE.Copyright, BASE.ExifOffset, *resolution}
    assert set(exposure) == {BASE.LensModel, BASE.FNumber}
    assert decode_image(result).shape == (16, 24, 3)  # not turned a second time


def test_exif_is_not_kept_unless_asked_for():
    photo = decode_photo(encode(exif=make_exif()), 200, KeptMetadata(gps=True))
    for kind in SUFFIX:
        assert b"Canon" not in encode_result(photo.pixels, kind, photo)


@pytest.mark.parametrize("kind", SUFFIX)
def test_the_place_is_kept_where_asked_for(kind):
    photo = decode_photo(encode(exif=make_exif()), 200, KeptMetadata(exif=True, gps=True))
    tags, _, place = read_exif(encode_result(photo.pixels, kind, photo))
    assert tags[BASE.Make] == "Canon"
    assert place == {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 8.0, 0.0)}


def test_the_place_is_kept_where_nothing_else_is_said():
    only = Image.Exif()
    only.get_ifd(ExifTags.IFD.GPSInfo)[GPS.GPSLatitudeRef] = "N"
    data = encode(exif=only.tobytes())
    assert decode_photo(data, 200, KeptMetadata(exif=True)).exif == b""
    photo = decode_photo(data, 200, KeptMetadata(exif=True, gps=True))
    assert read_exif(encode_result(photo.pixels, "png", photo))[2] == {GPS.GPSLatitudeRef: "N"}


def test_without_exif_there_is_none_to_keep():
    data = encode()
    photo = decode_photo(data, 200, KeptMetadata(exif=True, icc=True))
    assert (photo.exif, photo.icc) == (b"", b"")
    assert np.array_equal(photo.pixels, decode_image(data))
    assert encode_result(photo.pixels, "png", photo) == encode_result(
        photo.pixels, "png", Photo(photo.pixels)
    )


def test_broken_exif_is_not_kept():
    assert decode_photo(encode(exif=b"Exif\0\0no tags"), 200, KeptMetadata(exif=True)).exif == b""
    rng, whole = np.random.default_rng(0), encode(exif=make_exif())
    start = whole.index(b"Exif\0\0") + 6
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(start, start + 150, 8):
            data[place] = rng.integers(256)
        photo = decode_photo(bytes(data), 200, KeptMetadata(exif=True))
        result = encode_result(photo.pixels, "png", photo)
        assert np.array_equal(np.asarray(open_result(result)), photo.pixels)
