"""One file to a row: its kind, whether it decodes in full, and how its picture looks."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import ImageError, decode_image, encode_jpeg, make_thumbnail, read_bytes
from bgexp.quality.header import Header, read_header
from bgexp.quality.near_duplicates import PictureFeatures, compute_likeness
from bgexp.system.hashing import hash_bytes
from bgexp.system.listing import FileEntry

_MEASURED_SIDE = 512  # pixels; brightness and the like are measured on images of this longer side
THUMBNAIL = 160  # pixels, the longer side


@dataclass(frozen=True)
class Inspection:
    """The properties of one file.

    Attributes:
        path, category, size: As in `FileEntry`.
        header: The header of the file.
        decodes: Whether the file decodes in full.
        reason: Why it does not; else "".
        corrupt: Whether it is damaged, or claims to be an image and is none; not so where it is
            only too large, or of a format that is not accepted.
        sha256: SHA-256 of its bytes, hexadecimal; "" where they were not read.
        width, height: Of the upright image, in pixels; 0 where unknown.
        looks: brightness and contrast (mean and standard deviation of the luminance, 0 to 255),
            entropy (of its histogram, in bits), sharpness (variance of the Laplacian; blurred
            pictures have little), on at most 512 pixels; {} where it does not decode.
        likeness: Hashes for near duplicates; None where it does not decode.
        thumbnail: A JPEG of at most 160 pixels; b"" where it does not decode.
    """

    path: str
    category: str
    size: int
    header: Header
    decodes: bool = False
    reason: str = ""
    corrupt: bool = False
    sha256: str = ""
    width: int = 0
    height: int = 0
    looks: dict[str, float] = field(default_factory=dict)
    likeness: PictureFeatures | None = None
    thumbnail: bytes = b""


def make_inspector(max_megapixels: float) -> Callable[[FileEntry], Inspection]:
    """Return the function that a worker calls with each file."""
    cv2.setNumThreads(1)
    return partial(inspect_file, max_megapixels=max_megapixels)


def inspect_file(entry: FileEntry, max_megapixels: float) -> Inspection:
    """Read a file in full; whatever is wrong with it becomes the reason."""
    header = read_header(entry)
    row = Inspection(
        entry.path,
        entry.category,
        entry.size,
        header,
        reason=header.reason,
        corrupt=header.corrupt,
        width=header.width,
        height=header.height,
    )
    if header.kind == "closed":
        return row
    try:
        data = read_bytes(entry.file)
    except ImageError as error:
        return replace(row, reason=str(error))
    row = replace(row, sha256=hash_bytes(data), size=len(data))
    if header.reason:
        return row
    try:
        image = decode_image(data, max_megapixels)
    except ImageError as error:
        reason = f"corrupt: {error}" if error.damaged else str(error)
        return replace(row, reason=reason, corrupt=error.damaged)
    small = make_thumbnail(image, _MEASURED_SIDE)
    return replace(
        row,
        decodes=True,
        width=image.shape[1],
        height=image.shape[0],
        looks=_measure_looks(small),
        likeness=compute_likeness(small),
        thumbnail=encode_jpeg(make_thumbnail(small, THUMBNAIL)),
    )


def _measure_looks(image: NDArray[np.uint8]) -> dict[str, float]:
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    shares = np.bincount(grey.ravel(), minlength=256) / grey.size
    shares = shares[shares > 0]
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "entropy": max(0.0, float(-(shares * np.log2(shares)).sum())),
        "sharpness": float(cv2.Laplacian(grey, cv2.CV_64F).var()),
    }
