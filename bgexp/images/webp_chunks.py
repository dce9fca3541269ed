"""Whether a WebP holds all its pixels; its pictures stand in chunks of a RIFF file (RFC 9649)."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import BinaryIO, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

_BITMAPS = {b"VP8 ", b"VP8L"}
_PICTURES = {*_BITMAPS, b"ANMF"}  # the last: a frame
_MIN_ZEROS = 64  # at the end of a bitmap; hardly one has as many
_SPARE = 16  # bytes without which a bitmap that needs all of its data does not decode

_Chunk: TypeAlias = tuple[bytes, bytes]  # its type and its data


def is_webp(start: bytes) -> bool:
    """Tell by a file's first 12 bytes whether it is a WebP."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def select_complete(file: BinaryIO) -> BytesIO:
    """Return a WebP of those chunks of another that are there in full.

    Raises:
        ValueError: Its first picture is not.
    """
    chunks = list(_read_chunks(file))
    if not any(kind in _PICTURES for kind, _ in chunks):
        raise ValueError("it ends before its picture does")
    return _build(chunks)


def check_zeros(data: bytes) -> None:
    """Raise ValueError where zeros stand for the rest of a bitmap, which a decoder takes for data.

    They are too many then: the bitmap decodes without the last of them.
    """
    chunks = list(_read_chunks(BytesIO(data)))
    for place, (kind, content) in enumerate(chunks):
        if kind in _BITMAPS and content.endswith(bytes(_MIN_ZEROS)):
            shorter = kind, content[:-_SPARE]
            file = _build([*chunks[:place], shorter, *chunks[place + 1 :]])
            if decode_still(file.getvalue()) is not None:
                raise ValueError("zeros stand in place of its data")


def _read_chunks(file: BinaryIO) -> Iterator[_Chunk]:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[4:], "little")
        content = file.read(length + length % 2)[:length]
        if len(content) == length:
            yield head[:4], content


def _build(chunks: Iterable[_Chunk]) -> BytesIO:
    parts = [
        part
        for kind, content in chunks
        for part in (kind, len(content).to_bytes(4, "little"), content, bytes(len(content) % 2))
    ]
    body = b"".join((b"WEBP", *parts))
    return BytesIO(b"RIFF" + len(body).to_bytes(4, "little") + body)


def decode_still(data: bytes) -> NDArray[np.uint8] | None:
    """Return a WebP of one picture as HxWx3 uint8 RGB, in its own colours; None where it fails.

    The same decoder as Pillow's, in two thirds of its time: Pillow takes each for an animation.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
