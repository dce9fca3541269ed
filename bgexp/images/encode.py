"""Results as files: PNG, WebP or JPEG, with the original's profile and EXIF where wanted."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from bgexp.config.batch import KeptMetadata
from bgexp.images.decode import decode_first_rgb, decode_image, open_image, translate_errors
from bgexp.images.png import encode_png

SUFFIX = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
JPEG_QUALITY = 95
# In pixels; the limits of the formats' headers.
LONGEST_SIDE = {"png": 2**31 - 1, "webp": 16383, "jpeg": 65500}
_BASE, _GPS, _PICTURE = ExifTags.Base, ExifTags.GPS, 0
# How a picture was taken, with what kind of device, and when; and the copyright, which was written
# to go with it. All else may tell a place, a person or a device: comments, descriptions, serial
# numbers, maker's notes, XMP, IPTC, the offset from UTC, and whatever a maker thinks of next.
_KEPT: dict[int, set[int]] = {
    _PICTURE: {
        *(_BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime, _BASE.Copyright),
        *(_BASE.XResolution, _BASE.YResolution, _BASE.ResolutionUnit),
    },
    ExifTags.IFD.Exif: {
        *(_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.SubsecTime),
        *(_BASE.SubsecTimeOriginal, _BASE.SubsecTimeDigitized, _BASE.ExifVersion),
        *(_BASE.ExposureTime, _BASE.FNumber, _BASE.ExposureProgram, _BASE.ISOSpeedRatings),
        *(_BASE.SensitivityType, _BASE.RecommendedExposureIndex, _BASE.ISOSpeed),
        *(_BASE.ShutterSpeedValue, _BASE.ApertureValue, _BASE.BrightnessValue),
        *(_BASE.ExposureBiasValue, _BASE.MaxApertureValue, _BASE.SubjectDistance),
        *(_BASE.MeteringMode, _BASE.LightSource, _BASE.Flash, _BASE.FocalLength),
        *(_BASE.FocalLengthIn35mmFilm, _BASE.SensingMethod, _BASE.ExposureMode),
        *(_BASE.WhiteBalance, _BASE.DigitalZoomRatio, _BASE.SceneCaptureType),
        *(_BASE.GainControl, _BASE.Contrast, _BASE.Saturation, _BASE.Sharpness),
        *(_BASE.LensMake, _BASE.LensModel, _BASE.LensSpecification),
    },
    ExifTags.IFD.GPSInfo: {
        *(_GPS.GPSVersionID, _GPS.GPSLatitudeRef, _GPS.GPSLatitude, _GPS.GPSLongitudeRef),
        *(_GPS.GPSLongitude, _GPS.GPSAltitudeRef, _GPS.GPSAltitude, _GPS.GPSTimeStamp),
        *(_GPS.GPSDateStamp, _GPS.GPSImgDirectionRef, _GPS.GPSImgDirection, _GPS.GPSMapDatum),
    },
}


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded image with its colour profile and EXIF.

    Attributes:
        pixels: HxWx3 uint8 RGB, upright; in sRGB, or in the profile's colours where that is kept.
        icc: The colour profile that the pixels are in; b"" for sRGB.
        exif: The kept tags, as bytes; b"" for none.
    """

    pixels: NDArray[np.uint8]
    icc: bytes = b""
    exif: bytes = b""


def decode_photo(data: bytes, max_megapixels: float, keep: KeptMetadata) -> Photo:
    """Decode an image as `decode_image` does, and read the profile and EXIF to keep.

    Only the profile of an RGB image can be kept, as results are RGB: others become sRGB.

    Raises:
        ImageError: As `decode_image`.
    """
    if not (keep.icc or keep.exif):
        return Photo(decode_image(data, max_megapixels))
    with translate_errors():
        exif = _select_exif(open_image(BytesIO(data)), keep.gps) if keep.exif else b""
        return Photo(*decode_first_rgb(data, max_megapixels, keep_profile=keep.icc), exif)


def _select_exif(image: Image.Image, gps: bool) -> bytes:
    """Return the EXIF that is known to be safe, without the orientation: the result is upright."""
    try:
        exif, copy = image.getexif(), Image.Exif()
        copy.update({tag: exif[tag] for tag in sorted(_KEPT[_PICTURE]) if tag in exif})
        for ifd in (ExifTags.IFD.Exif, *([ExifTags.IFD.GPSInfo] if gps else [])):
            tags = exif.get_ifd(ifd)
            copy.get_ifd(ifd).update({tag: tags[tag] for tag in sorted(_KEPT[ifd]) if tag in tags})
        ifds = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        return copy.tobytes() if len(copy) or any(map(copy.get_ifd, ifds)) else b""
    except Exception:  # broken EXIF is not kept
        return b""


def encode_result(image: NDArray[np.uint8], kind: str, photo: Photo) -> bytes:
    """Encode a cut-out, HxWx3 RGB or HxWx4 RGBA uint8; the same bytes each time.

    Args:
        image: The pixels; PNG and WebP are lossless, JPEG has quality 95 and no transparency.
        kind: png, webp or jpeg.
        photo: The original, whose profile and EXIF are written.

    Raises:
        ValueError: A side is longer than the format can hold.
    """
    longest = max(image.shape[:2])
    if longest > LONGEST_SIDE[kind]:
        raise ValueError(f"{longest} pixels: a {kind} file holds at most {LONGEST_SIDE[kind]}")
    if kind == "png":
        return encode_png(image, photo.icc, photo.exif)
    options: dict[str, Any] = {"lossless": True, "exact": True, "method": 2}
    if kind == "jpeg":
        options = {"quality": JPEG_QUALITY, "subsampling": 0}
    if photo.icc:
        options["icc_profile"] = photo.icc
    if photo.exif:
        options["exif"] = photo.exif
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()
