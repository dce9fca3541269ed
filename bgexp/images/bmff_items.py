"""Whether a HEIC or AVIF holds its pixels; pictures are items of boxes (ISO/IEC 14496-12)."""

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import NamedTuple

_PICTURES = {b"hvc1", b"av01", b"avc1"}  # coded ones: the whole picture or tiles of it
_MIN_ZEROS = 64  # in a row; HEVC never writes three, AV1's arithmetic coder hardly so many
_IN_FILE = 0  # how an item's place is told: by its offset in the file


class _Box(NamedTuple):
    kind: bytes
    content: BytesIO


def check_zeros(data: bytes) -> None:
    """Raise ValueError where zeros stand for part of a picture, which a decoder takes for data.

    Where the boxes are damaged, that is for the decoder to say.
    """
    with suppress(EOFError):
        for start, length in _find_pictures(data):
            if data.find(bytes(_MIN_ZEROS), start, start + length) >= 0:
                raise ValueError("zeros stand in place of its data")


def _find_pictures(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and length, in bytes, of each part of the coded pictures."""
    meta = next((box.content for box in _read_boxes(BytesIO(data)) if box.kind == b"meta"), None)
    if meta is None:
        return
    meta.read(4)  # version and flags
    boxes = {box.kind: box.content for box in _read_boxes(meta)}
    if {b"iinf", b"iloc"} <= boxes.keys():
        pictures = {item for item, kind in _read_kinds(boxes[b"iinf"]) if kind in _PICTURES}
        for item, start, length in _read_places(boxes[b"iloc"]):
            if item in pictures:
                yield start, length


def _read_boxes(file: BytesIO) -> Iterator[_Box]:
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4]), head[4:]
        if size == 1:
            size = _read_number(file, 8) - 8
        yield _Box(kind, BytesIO(file.read(size - 8) if size else file.read()))


def _read_kinds(iinf: BytesIO) -> Iterator[tuple[int, bytes]]:
    """Yield number and type of each item."""
    version = _read_number(iinf, 4) >> 24
    iinf.read(4 if version else 2)  # their count
    for _, entry in _read_boxes(iinf):
        wide = _read_number(entry, 4) >> 24 == 3
        item = _read_number(entry, 4 if wide else 2)
        entry.read(2)  # its protection
        yield item, entry.read(4)


def _read_places(iloc: BytesIO) -> Iterator[tuple[int, int, int]]:
    """Yield an item's number, start and length for each of its parts that is told by its offset."""
    version = _read_number(iloc, 4) >> 24
    sizes = _read_number(iloc, 2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    wide = 4 if version == 2 else 2
    for _ in range(_read_number(iloc, wide)):
        item = _read_number(iloc, wide)
        method = _read_number(iloc, 2) & 15 if version else _IN_FILE
        iloc.read(2)  # the file that it is in: this one
        base = _read_number(iloc, base_size)
        for _ in range(_read_number(iloc, 2)):
            iloc.read(index_size)
            start = base + _read_number(iloc, offset_size)
            length = _read_number(iloc, length_size)
            if method == _IN_FILE:
                yield item, start, length


def _read_number(file: BytesIO, size: int) -> int:
    number = file.read(size)
    if len(number) < size:
        raise EOFError
    return int.from_bytes(number)
