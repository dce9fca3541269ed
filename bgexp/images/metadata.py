"""What a file says of itself: format, depth, frames, camera, time; pixels are not decoded."""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

from PIL import ExifTags, Image, ImageCms

from bgexp.images.decode import decoding, open_image, orientation_of

_EXIF, _BASE = ExifTags.IFD.Exif, ExifTags.Base
# By the names that exif takes: the tags that say it, the first that is there counts.
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
        _find_exif(image, file)
        orientation = orientation_of(image)  # before all else: it looks only where it may
        said = _exif(image)
        # Pillow tells a TIFF's sides as they are upright.
        turned = image.format == "TIFF" and orientation >= 5
        width, height = image.size[::-1] if turned else image.size
        return Metadata(
            format=str(image.format),
            width=width,
            height=height,
            mode=image.mode,
            bits=_bits(image),
            frames=_frames(image),
            orientation=orientation,
            icc=_profile(image),
            fields=_fields(image, said),
        )


def _find_exif(image: Image.Image, file: BinaryIO) -> None:
    """Finds what stands behind a PNG's pixels, which Pillow would decode for it."""
    if image.format != "PNG" or {"exif", "Raw profile type exif"} & set(image.info):
        return
    place = file.tell()
    file.seek(8)
    image.info["exif"] = b""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            image.info["exif"] = file.read(length)
            break
        file.seek(length + 4, 1)
    file.seek(place)


def _exif(image: Image.Image) -> dict[int, Any]:
    """The tags of the picture and of its exposure; {} where they are broken."""
    found: dict[int, Any] = {}
    with suppress(Exception):
        exif = image.getexif()
        found |= dict(exif)
        found |= dict(exif.get_ifd(_EXIF))
        # Cameras without a receiver write its version alone.
        if ExifTags.GPS.GPSLatitude in exif.get_ifd(ExifTags.IFD.GPSInfo):
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
        if across > 0 and down > 0 and _says_dpi(image, said):
            found["dpi"] = f"{float(across):g}x{float(down):g}"
    return found


def _says_dpi(image: Image.Image, said: dict[int, Any]) -> bool:
    """Whether the file does: where it does not, Pillow makes up 72 for a JPEG, 1 for a TIFF."""
    if image.format not in ("JPEG", "MPO", "TIFF"):
        return True
    return _BASE.XResolution in said or image.info.get("jfif_unit") in (1, 2)


def _text(value: object) -> str:
    """A tag's value in one line; "" where nothing is said."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = " ".join(str(value).replace("\0", " ").split())[:200]
    # A time never set; 0/0, which is a number that is not known.
    return "" if (re.fullmatch(r"[0: ]*", text) and ":" in text) or text == "nan" else text


def _bits(image: Image.Image) -> int:
    if "bit_depth" in image.info:
        return int(image.info["bit_depth"])
    # Most show only in how rows are unpacked, such as RGB;16B; a BMP's BGR;16 is of a pixel.
    packed = re.search(r"'(?!BGR)\w+;(\d+)", str(getattr(image, "tile", "")))
    return int(packed[1]) if packed else _BITS.get(image.mode, 8)


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
