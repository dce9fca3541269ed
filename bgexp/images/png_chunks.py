"""The chunks of a PNG on which its picture depends, and whether they hold all its pixels.

Other chunks may be of any size and content: what is wrong with them costs nothing. The format is
that of the W3C's Portable Network Graphics (Third Edition).
"""

import zlib
from collections.abc import Iterable, Iterator
from io import SEEK_CUR, BytesIO
from struct import unpack
from typing import BinaryIO, TypeAlias

from isal import isal_zlib

from bgexp.images.png import SIGNATURE, make_chunk

_HEADER, _PIXELS, _END = b"IHDR", b"IDAT", b"IEND"
_NEEDED = {_HEADER, b"PLTE", b"tRNS", _PIXELS}
_USEFUL = {b"iCCP", b"eXIf", b"pHYs"}
_ANIMATION = {b"acTL": 8, b"fcTL": 26}  # which tell the number of frames, and their lengths
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
# The texts in which some programs keep EXIF, or the orientation.
_USEFUL_TEXTS = {b"Raw profile type exif", b"XML:com.adobe.xmp"}
_MAX_TEXT = 1 << 20  # bytes, also of a compressed text when expanded, which may be a bomb
MAX_PROFILE = 1 << 26
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Of Adam7's passes: the first column and row, and the steps to the next ones.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_BLOCK = 1 << 20  # bytes that are expanded at once

_Chunk: TypeAlias = tuple[bytes, bytes]  # its type and its data


def select_header(file: BinaryIO) -> BytesIO:
    """Return a PNG with the header, profile and EXIF of another, but no pixels.

    Raises:
        ValueError: A chunk that the picture needs is damaged.
        NotImplementedError: It needs one that is not of the standard.
    """
    return _build(_read_chunks(file, with_pixels=False))


def select_picture(data: bytes) -> BytesIO:
    """Return a PNG of those chunks of another on which its picture depends.

    Its rows are stored uncompressed: ISA-L expands them in a third of the time of Pillow's zlib.

    Raises:
        ValueError: Pixels are missing, or a chunk that the picture needs is damaged.
        NotImplementedError: As `select_header`.
    """
    chunks = list(_read_chunks(BytesIO(data), with_pixels=True))
    header = next((content for kind, content in chunks if kind == _HEADER), b"")
    needed = _count_filtered_bytes(header)
    pixels = (content for kind, content in chunks if kind == _PIXELS)
    stored, deflate, n = [], zlib.compressobj(level=0), 0
    for block in _expand(pixels, needed):
        stored.append((_PIXELS, deflate.compress(block)))
        n += len(block)
    if n < needed:
        raise ValueError("rows are missing")
    others = [chunk for chunk in chunks if chunk[0] != _PIXELS]
    return _build([*others, *stored, (_PIXELS, deflate.flush())])


def _build(chunks: Iterable[_Chunk]) -> BytesIO:
    """Return chunks as a file, those of the pixels last: EXIF may stand behind them."""
    ordered = [*sorted(chunks, key=lambda chunk: chunk[0] == _PIXELS), (_END, b"")]
    parts = [part for kind, content in ordered for part in make_chunk(kind, content)]
    return BytesIO(b"".join((SIGNATURE, *parts)))


def _read_chunks(file: BinaryIO, with_pixels: bool) -> Iterator[_Chunk]:
    """Yield the chunks that count, up to where the file is cut off; without pixels one is empty."""
    kinds = _NEEDED | _USEFUL | _TEXTS
    if not with_pixels:
        kinds = kinds - {_PIXELS} | set(_ANIMATION)
    expanded: set[bytes] = set()  # of a kind that is expanded the first counts: all could be bombs
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        length, kind = unpack(">I4s", head)
        if kind == _END or not kind.isalpha():
            return
        if kind[:1].isupper() and kind not in _NEEDED:
            raise NotImplementedError(f"chunk {kind.decode()}")
        if kind == _PIXELS and not with_pixels:
            kinds = kinds - set(_ANIMATION)  # the frames behind the first
            yield kind, b""
        if kind in kinds and (kind not in _TEXTS or length <= _MAX_TEXT):
            content, checksum = file.read(length), file.read(4)
            if _is_sound(kind, content, checksum) and _is_useful(kind, content, expanded):
                yield kind, content
        else:
            file.seek(length + 4, SEEK_CUR)


def _is_sound(kind: bytes, content: bytes, checksum: bytes) -> bool:
    """Tell whether a chunk is whole; raise ValueError where a needed one is not."""
    if kind == _PIXELS and len(checksum) < 4:  # the file ends here: the count of pixels decides
        return True
    if checksum == make_chunk(kind, content)[-1]:
        return True
    if kind in _NEEDED and len(checksum) < 4:
        raise ValueError(f"it ends before its chunk {kind.decode()} does")
    if kind in _NEEDED:
        raise ValueError(f"wrong checksum of chunk {kind.decode()}")
    return False


def _is_useful(kind: bytes, content: bytes, expanded: set[bytes]) -> bool:
    """Tell whether a chunk is of use, its text or profile not too large to be expanded."""
    if kind not in _TEXTS | {b"iCCP"}:
        return len(content) == _ANIMATION.get(kind, len(content))
    name, _, rest = content.partition(b"\0")
    what = kind if kind == b"iCCP" else name
    if what in expanded or what not in _USEFUL_TEXTS | {b"iCCP"}:
        return False
    expanded.add(what)
    if kind == b"iCCP":
        return sum(map(len, _expand([rest[1:]], MAX_PROFILE + 1))) <= MAX_PROFILE
    compressed = rest[1:] if kind == b"zTXt" else b""
    if kind == b"iTXt" and rest[:1] == b"\1":
        compressed = rest[2:].split(b"\0", 2)[-1]
    n_expanded = sum(map(len, _expand([compressed], _MAX_TEXT + 1)))
    return n_expanded <= _MAX_TEXT


def _expand(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield what a zlib stream expands to, in blocks, up to its first error or the limit."""
    stream, n = isal_zlib.decompressobj(), 0
    try:
        for piece in pieces:
            while piece and n < limit and not stream.eof:
                block = stream.decompress(piece, _BLOCK)
                n += len(block)
                yield block
                piece = stream.unconsumed_tail
    except isal_zlib.error:  # type: ignore[misc]  # the library names its class by a string
        pass


def _count_filtered_bytes(header: bytes) -> int:
    """Return how many bytes a picture's rows have, the filter of each included."""
    width, height, depth, colour, _, _, interlaced = unpack(">IIBBBBB", header)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    n = 0
    for left, top, right, down in passes:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0:
            n += max(0, rows) * (1 + -(-columns * depth * _CHANNELS[colour] // 8))
    return n
