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
# Orientation and size have changed, and unchecked fields may tell where and by whom a picture was
# taken: the maker's notes, XMP, IPTC, Photoshop's and the user's comments.
_NOT_KEPT = {
    ExifTags.Base.Orientation,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.MakerNote,
    ExifTags.Base.UserComment,
    ExifTags.Base.ExifOffset,
    ExifTags.Base.GPSInfo,
    0x02BC,
    0x83BB,
    0x8649,
}
# The layout of the original's pixels, which a TIFF has among its tags.
_NOT_KEPT |= {*range(254, 269), 273, *range(277, 282), 284, *range(288, 294), 297, 301}
_NOT_KEPT |= {*range(317, 348), *range(512, 533), 0x8773}


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
    """Return the EXIF without orientation (the result is upright), thumbnail and maker's notes."""
    try:
        exif, copy = image.getexif(), Image.Exif()
        copy.update({tag: value for tag, value in exif.items() if tag not in _NOT_KEPT})
        for ifd in (ExifTags.IFD.Exif, *([ExifTags.IFD.GPSInfo] if gps else [])):
            tags = exif.get_ifd(ifd).items()
            copy.get_ifd(ifd).update({tag: value for tag, value in tags if tag not in _NOT_KEPT})
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
