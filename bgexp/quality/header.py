"""What a file is, by its header alone: an image, something else, or nothing to be opened."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bgexp.images.decode import SUFFIXES, ImageError, foreign_format, open_regular
from bgexp.images.metadata import Metadata, read_metadata
from bgexp.system.listing import FileEntry

# By format, what its names may end in. Cameras call an MPO .jpg.
_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
EXTENSIONS = {
    "JPEG": _JPEG,
    "MPO": {".mpo", *_JPEG},
    "PNG": {".png"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "AVIF": {".avif", ".hif"},
    "HEIF": {".heic", ".heif", ".hif"},
}


@dataclass(frozen=True)
class Header:
    """What is known of a file without decoding it.

    Attributes:
        kind: "image": it is one or claims to be, by its content or its extension. "other": it is
            none. "closed": it is not opened.
        reason: Why it cannot be worked on; "" for an image.
        corrupt: Whether it claims to be an image and its header is broken or none.
        metadata: What the header says; None where there is none.
        width, height: Upright, in pixels; 0 where they are not known.
        extension_agrees: Whether the name's extension is one of the real format; None where that
            is not known.
    """

    kind: Literal["image", "other", "closed"]
    reason: str = ""
    corrupt: bool = False
    metadata: Metadata | None = None
    width: int = 0
    height: int = 0
    extension_agrees: bool | None = None


def header_reader() -> Callable[[FileEntry], Header]:
    """What a worker calls with each file."""
    return read_header


def read_header(found: FileEntry) -> Header:
    """Reads what stands before the pixels; whatever is wrong becomes the reason."""
    if found.closed:
        return Header("closed", found.closed)
    suffix = Path(found.path).suffix.lower()
    claims = suffix in SUFFIXES
    try:
        with open_regular(found.file) as file:
            try:
                metadata = read_metadata(file)
            except ImageError as error:
                file.seek(0)
                if other := foreign_format(file):
                    return Header("image", f"format not accepted: {other}")
                if not claims:
                    return Header("other", "not an image")
                reason = f"corrupt: {error}" if error.damaged else str(error)
                return Header("image", reason, corrupt=error.damaged)
    except ImageError as error:
        return Header("image" if claims else "other", str(error), corrupt=claims)
    sides = metadata.width, metadata.height
    width, height = sides[::-1] if metadata.turned else sides
    agrees = suffix in EXTENSIONS[metadata.format]
    return Header("image", "", False, metadata, width, height, agrees)
