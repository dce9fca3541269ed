"""The kind of a file, by its header alone: an image, another file, or one not opened."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bgexp.images.decode import SUFFIXES, ImageError, find_foreign_format, open_regular
from bgexp.images.metadata import Metadata, read_metadata
from bgexp.system.listing import UNREADABLE, FileEntry

# The extensions of each format; cameras call an MPO .jpg.
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
    """The properties of a file that is not decoded.

    Attributes:
        kind: "image": an image, by its content or its extension. "other": no image. "closed": not
            opened, such as a link.
        reason: Why it cannot be processed; "" for an image.
        corrupt: Whether it claims to be an image and its header is broken or none.
        metadata: The header's fields; None where there is no header.
        width, height: Of the upright image, in pixels; 0 where unknown.
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


def make_header_reader() -> Callable[[FileEntry], Header]:
    """Return the function that a worker calls with each file."""
    return read_header


def read_header(entry: FileEntry) -> Header:
    """Read what stands before the pixels; whatever is wrong becomes the reason."""
    if entry.closed:
        return Header("closed", entry.closed)
    suffix = Path(entry.path).suffix.lower()
    claims = suffix in SUFFIXES
    try:
        with open_regular(entry.file, entry.size) as file:
            try:
                metadata = read_metadata(file)
            except ImageError as error:
                if str(error).startswith(UNREADABLE):
                    raise
                file.seek(0)
                if foreign := find_foreign_format(file):
                    return Header("image", f"format not accepted: {foreign}")
                if not claims:
                    return Header("other", "not an image")
                reason = f"corrupt: {error}" if error.damaged else str(error)
                return Header("image", reason, corrupt=error.damaged)
    except ImageError as error:
        return Header("image" if claims else "other", str(error), corrupt=claims)
    stored_size = metadata.width, metadata.height
    width, height = stored_size[::-1] if metadata.turned else stored_size
    extension_agrees = suffix in EXTENSIONS[metadata.format]
    return Header("image", "", False, metadata, width, height, extension_agrees)
