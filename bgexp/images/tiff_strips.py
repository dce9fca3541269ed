"""Whether a TIFF holds all its pixels (TIFF 6.0): each strip or tile is there, and in full."""

from collections.abc import Mapping
from io import SEEK_END
from typing import Any, BinaryIO, Literal

from bgexp.images.jpeg_scans import restore_jpeg

# Tags.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOURS, _SAMPLES = 256, 257, 258, 259, 262, 277
_STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_SIZES, _PLANES = 273, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES = 322, 323, 324, 325
_JPEG_TABLES = 347
# By the code of a value's type.
_VALUE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_RAW, _JPEG, _SEPARATE, _YCBCR = 1, 7, 2, 6  # values


def check_directory(file: BinaryIO) -> None:
    """Raise ValueError where a TIFF ends before its first directory, or the values named there.

    Without them a picture looks like one of an unknown kind.
    """
    n_bytes = file.seek(0, SEEK_END)
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:1] == b"I" else "big"
    is_big = 43 in head[2:4]  # BigTIFF
    n_count, n_entry, n_value = (8, 20, 8) if is_big else (2, 12, 4)
    place = int.from_bytes(head[8:16] if is_big else head[4:8], order)
    file.seek(place)
    n_entries = int.from_bytes(file.read(n_count), order)
    entries = file.read(n_entries * n_entry)
    if len(entries) < n_entries * n_entry or not n_entries:
        raise ValueError("it ends before its directory")
    for start in range(0, len(entries), n_entry):
        entry = entries[start : start + n_entry]
        kind, n = int.from_bytes(entry[2:4], order), int.from_bytes(entry[4:-n_value], order)
        size = n * _VALUE_BYTES.get(kind, 1)
        if size > n_value and int.from_bytes(entry[-n_value:], order) + size > n_bytes:
            raise ValueError("it ends before the values of its directory")


def check_strips(tags: Mapping[int, Any], data: bytes) -> None:
    """Raise ValueError where a strip or tile of a TIFF's first picture is missing or incomplete.

    Args:
        tags: As Pillow's `tag_v2`.
        data: The file.
    """
    width, height = tags[_WIDTH], tags[_HEIGHT]
    is_tiled = _TILE_OFFSETS in tags
    block_width = tags[_TILE_WIDTH] if is_tiled else width
    block_height = (
        tags[_TILE_HEIGHT] if is_tiled else min(height, tags.get(_ROWS_PER_STRIP, height))
    )
    n_down, n_across = -(-height // block_height), -(-width // block_width)
    n_planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES) == _SEPARATE else 1
    n_blocks = n_down * n_across * n_planes
    offsets = tags[_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS]
    if len(offsets) < n_blocks:
        raise ValueError(f"rows are missing: {len(offsets)} of {n_blocks} strips or tiles")
    sizes = tags.get(_TILE_SIZES if is_tiled else _STRIP_SIZES, (0,) * n_blocks)
    is_raw = tags.get(_COMPRESSION, _RAW) == _RAW and tags.get(_COLOURS) != _YCBCR
    row_bits = block_width * tags.get(_BITS, (1,))[0] * (tags.get(_SAMPLES, 1) // n_planes)
    for number, (offset, size) in enumerate(zip(offsets[:n_blocks], sizes, strict=False)):
        top = number // n_across % n_down * block_height
        n_rows = block_height if is_tiled else min(block_height, height - top)
        needed = n_rows * -(-row_bits // 8) if is_raw else 1
        if n_blocks == 1 and is_raw:
            size = size or needed  # some programs do not write it
        if not offset or size < needed or offset + max(size, needed) > len(data):
            raise ValueError("rows are missing: a strip or tile is not there in full")
        if tags.get(_COMPRESSION) == _JPEG:
            tables = tags.get(_JPEG_TABLES, b"\xff\xd8\xff\xd9")
            restore_jpeg(tables[:-2] + data[offset + 2 : offset + size])
