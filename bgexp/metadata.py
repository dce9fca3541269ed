"""What a file says of itself: format, depth, frames, camera, time; pixels are not decoded."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageCms

from bgexp.images import decoding, open_image, orientation_of

_EXIF, _BASE = ExifTags.IFD.Exif, ExifTags.Base
# By the names that analyze.exif takes: the tags that say it, the first that is there counts.
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
    """What a header says.

    Attributes:
        format: Pillow's name, such as JPEG or MPO.
        width, height: In pixels, as stored, before it is turned upright.
        mode: Pillow's name, such as RGB.
        bits: Of a sample, as stored.
        frames: Pictures in the file.
        orientation: By which `decode_image` turns the picture, 1 to 8; 1 where it does not.
        icc: The name of the colour profile; "" without one.
        fields: Text by the names in FIELDS; those that are not said are left out.
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
        """Whether upright its width is its height."""
        return self.orientation >= 5


def read_metadata(file: BinaryIO) -> Metadata:
    """What the header of an encoded image says; a part that cannot be read is left out.

    Raises:
        ImageError: not an image of an accepted format, or a broken header.
    """
    with decoding():
        image = open_image(file)
        said = _exif(image)
        orientation = orientation_of(image)
        return Metadata(
            format=str(image.format),
            width=image.width,
            height=image.height,
            mode=image.mode,
            bits=_bits(image),
            frames=_frames(image),
            orientation=orientation,
            icc=_profile(image),
            fields=_fields(image, said),
        )


def _exif(image: Image.Image) -> dict[int, Any]:
    """The tags of the picture and of its exposure; {} where they are broken."""
    found: dict[int, Any] = {}
    with suppress(Exception):
        exif = image.getexif()
        found |= dict(exif)
        found |= dict(exif.get_ifd(_EXIF))
        if exif.get_ifd(ExifTags.IFD.GPSInfo):
            found[_BASE.GPSInfo] = "yes"
        else:
            found.pop(_BASE.GPSInfo, None)
    return found


def _fields(image: Image.Image, said: dict[int, Any]) -> dict[str, str]:
    found = {}
    for name, tags in FIELDS.items():
        texts = (_text(said[tag]) for tag in tags if tag in said)
        if text := next(filter(None, texts), ""):
            found[name] = text
    if _BASE.GPSInfo in said:
        found["gps"] = "yes"
    with suppress(Exception):
        across, down = image.info["dpi"]
        if across > 0 and down > 0:
            found["dpi"] = f"{float(across):g}x{float(down):g}"
    return found


def _text(value: object) -> str:
    """A tag's value in one line; "" where nothing is said."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = " ".join(str(value).replace("\0", " ").split())[:200]
    return "" if re.fullmatch(r"[0: ]*", text) and ":" in text else text  # a time never set


def _bits(image: Image.Image) -> int:
    if "bit_depth" in image.info:
        return int(image.info["bit_depth"])
    if image.mode in _BITS and image.format != "PNG":
        return _BITS[image.mode]
    # A PNG's 16 bits show only in how its rows are unpacked.
    deep = image.mode.startswith("I") or ";16" in str(getattr(image, "tile", ""))
    return 16 if deep else _BITS.get(image.mode, 8)


def _profile(image: Image.Image) -> str:
    data = image.info.get("icc_profile")
    if not data:
        return ""
    with suppress(Exception):
        return str(ImageCms.getProfileDescription(ImageCms.getOpenProfile(BytesIO(data)))).strip()
    return "unreadable"


def _frames(image: Image.Image) -> int:
    with suppress(Exception):
        return int(getattr(image, "n_frames", 1))
    return 1
