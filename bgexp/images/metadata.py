"""The metadata of an image file: format, depth, frames, camera, time, without its pixels."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageCms

from bgexp.images.decode import open_image, read_orientation, translate_errors

_EXIF, _BASE = ExifTags.IFD.Exif, ExifTags.Base
# The EXIF tags of each field; the first that is present counts.
FIELDS: dict[str, tuple[int, ...]] = {
    "make": (_BASE.Make,),
    "model": (_BASE.Model,),
    "taken": (_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.DateTime),
    "lens": (_BASE.LensModel,),
    "exposure": (_BASE.ExposureTime,),
    "aperture": (_BASE.FNumber,),
    "iso": (_BASE.ISOSpeedRatings,),
    "focal_length": (_BASE.FocalLength,),
    "software": (_BASE.Software,),
    "artist": (_BASE.Artist,),
    "copyright": (_BASE.Copyright,),
    "description": (_BASE.ImageDescription,),
    "orientation": (_BASE.Orientation,),
    "dpi": (),
    "gps": (),
}
_BITS = {"1": 1, "F": 32, "I": 32}


@dataclass(frozen=True)
class Metadata:
    """The content of an image's header.

    Attributes:
        format: Pillow's name, such as JPEG or MPO.
        width, height: In pixels, as stored, before the image is turned upright.
        mode: Pillow's name, such as RGB.
        bits: Bits per sample, as stored.
        frames: Number of pictures in the file.
        orientation: The EXIF orientation by which `decode_image` turns the picture, 1 to 8.
        icc: The name of the colour profile; "" without one.
        fields: Text by the names in FIELDS; missing ones are left out.
    """

    format: str
    width: int
    height: int
    mode: str
    bits: int
    frames: int
    orientation: int
    icc: str
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def turned(self) -> bool:
        """Return whether the upright image's width is the stored height."""
        return self.orientation >= 5


def read_metadata(file: BinaryIO) -> Metadata:
    """Read the header of an encoded image; a part that cannot be read is left out.

    Raises:
        ImageError: Not an image of an accepted format, or a broken header.
    """
    with translate_errors():
        image = open_image(file)
        orientation = read_orientation(image)  # first: it keeps getexif() from reading XMP
        tags = _read_tags(image)
        # Pillow returns the upright size of a TIFF.
        turned = image.format == "TIFF" and orientation >= 5
        width, height = image.size[::-1] if turned else image.size
        return Metadata(
            format=str(image.format),
            width=width,
            height=height,
            mode=image.mode,
            bits=_find_bits(image),
            frames=_count_frames(image),
            orientation=orientation,
            icc=_name_profile(image),
            fields=_collect_fields(image, tags),
        )


def _read_tags(image: Image.Image) -> dict[int, Any]:
    """Return the tags of the picture and of its exposure; {} where they are broken."""
    tags: dict[int, Any] = {}
    with suppress(Exception):
        exif = image.getexif()
        tags |= dict(exif)
        tags |= dict(exif.get_ifd(_EXIF))
        # Cameras without a receiver write its version alone.
        if ExifTags.GPS.GPSLatitude in exif.get_ifd(ExifTags.IFD.GPSInfo):
            tags[_BASE.GPSInfo] = "yes"
        else:
            tags.pop(_BASE.GPSInfo, None)
    return tags


def _collect_fields(image: Image.Image, tags: dict[int, Any]) -> dict[str, str]:
    fields = {}
    for name, candidates in FIELDS.items():
        texts = (_clean_text(tags[tag]) for tag in candidates if tag in tags)
        if text := next(filter(None, texts), ""):
            fields[name] = text
    if _BASE.GPSInfo in tags:
        fields["gps"] = "yes"
    with suppress(Exception):
        x_dpi, y_dpi = image.info["dpi"]
        if x_dpi > 0 and y_dpi > 0 and _has_dpi(image, tags):
            fields["dpi"] = f"{float(x_dpi):g}x{float(y_dpi):g}"
    return fields


def _has_dpi(image: Image.Image, tags: dict[int, Any]) -> bool:
    """Return whether the file has a resolution: else Pillow makes up 72 (JPEG) or 1 (TIFF)."""
    if image.format not in ("JPEG", "MPO", "TIFF"):
        return True
    return _BASE.XResolution in tags or image.info.get("jfif_unit") in (1, 2)


def _clean_text(value: object) -> str:
    """Return a tag's value in one line; "" where it is empty."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = " ".join(str(value).replace("\0", " ").split())[:200]
    # A time never set; 0/0, an unknown number.
    return "" if (re.fullmatch(r"[0: ]*", text) and ":" in text) or text == "nan" else text


def _find_bits(image: Image.Image) -> int:
    if "bit_depth" in image.info:
        return int(image.info["bit_depth"])
    # Most show only in how rows are unpacked, such as RGB;16B; a BMP's BGR;16 counts whole pixels.
    packed = re.search(r"'(?!BGR)\w+;(\d+)", str(getattr(image, "tile", "")))
    return int(packed[1]) if packed else _BITS.get(image.mode, 8)


def _name_profile(image: Image.Image) -> str:
    data = image.info.get("icc_profile")
    if not data:
        return ""
    with suppress(Exception):
        return str(ImageCms.getProfileDescription(ImageCms.getOpenProfile(BytesIO(data)))).strip()
    return "unreadable"


def _count_frames(image: Image.Image) -> int:
    with suppress(Exception):
        return int(getattr(image, "n_frames", 1))
    return 1
