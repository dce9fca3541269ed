"""Whether a JPEG holds all its pixels; the markers are those of ITU-T T.81, annex B.

A decoder goes on where data are missing or wrong: with grey, with what zeros happen to mean, or
with blocks that lack their detail. It only warns of it, and of harmless things first.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from simplejpeg import decode_jpeg

_START, _END = 0xD8, 0xD9
_SCAN, _JFIF = 0xDA, 0xE0
_SEQUENTIAL, _PROGRESSIVE = {0xC0, 0xC1, 0xC9}, {0xC2, 0xCA}
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}  # lossless, hierarchical
_CODES = {*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xFE}
_N_COEFFICIENTS = 64
# What ends a scan: a marker, but neither a stuffed byte nor a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Some cameras write a few bytes behind the last block; blocks in disorder leave more.
_SPARE = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_SPARE = 16


@dataclass(frozen=True)
class _Segment:
    """A marker's code, its parameters, and where in the file they end."""

    code: int
    content: bytes
    end: int


def check_scans(data: bytes) -> None:
    """Raise ValueError where a scan is missing: of a colour, or the detail of a progressive one.

    Raise NotImplementedError for the kinds of JPEG that no decoder here reads.
    """
    lowest_bits: dict[int, list[float]] = {}  # that came so far, by component and coefficient
    is_progressive = False
    for segment in _split(data):
        if segment.code in _OTHER_FRAMES:
            raise NotImplementedError(f"its process, marker {segment.code:#x}")
        if segment.code in _SEQUENTIAL | _PROGRESSIVE and not lowest_bits:
            is_progressive = segment.code in _PROGRESSIVE
            lowest_bits = {name: [inf] * _N_COEFFICIENTS for name in segment.content[6::3]}
        if segment.code == _SCAN:
            names, coefficients, bit = _read_scan(segment.content, is_progressive)
            for name in names & set(lowest_bits):
                lowest_bits[name][coefficients] = [bit] * len(lowest_bits[name][coefficients])
            if not any(map(any, lowest_bits.values())):
                return
    if lowest_bits:
        raise ValueError("scans are missing")


def _read_scan(content: bytes, is_progressive: bool) -> tuple[set[int], slice, int]:
    """Return a scan's components, coefficients and lowest bit."""
    n = content[0]
    names, end = set(content[1 : 1 + 2 * n : 2]), content[1 + 2 * n :]
    if not is_progressive or len(end) < 3:
        return names, slice(_N_COEFFICIENTS), 0
    return names, slice(end[0], end[1] + 1), end[2] & 15


def restore_jpeg(data: bytes) -> bytes:
    """Return a JPEG that has all its pixels in a form with which decoders find no fault.

    A missing end marker is put there; bytes between segments, padding behind a scan and what
    follows the picture are left out.

    Raises:
        ValueError: Pixels are missing, or what stands in their place makes no sense.
    """
    check_scans(data)
    restored = b"".join((bytes((0xFF, _START)), *_clean(data), bytes((0xFF, _END))))
    warning = _find_warning(restored)
    spare = _SPARE.search(warning)
    if spare and int(spare[1]) <= _MAX_SPARE:  # without them it tells what else there is
        restored = restored[: -2 - int(spare[1])] + restored[-2:]
        warning = _find_warning(restored)
    if warning:
        raise ValueError(warning.removeprefix("Corrupt JPEG data: "))
    return restored


def _split(data: bytes) -> Iterator[_Segment]:
    """Yield the segments of a file's first picture in their order, up to one that is cut off."""
    position = 2
    while found := _MARKER.search(data, position):
        code, position = data[found.end() - 1], found.end()
        if code in (_START, _END):
            return
        if code in _CODES:
            end = position + int.from_bytes(data[position : position + 2])
            if not position + 2 <= end <= len(data):
                return
            yield _Segment(code, data[position + 2 : end], end)
            position = end


def _clean(data: bytes) -> Iterator[bytes]:
    """Yield segments and scans without what a decoder warns of though no pixel depends on it."""
    is_sequential = False
    for segment in _split(data):
        content, scan = segment.content, b""
        is_sequential |= segment.code in _SEQUENTIAL
        if segment.code == _JFIF and content.startswith(b"JFIF\0"):
            content = content[:5] + b"\1" + content[6:]  # the revision
        if segment.code == _SCAN:
            if is_sequential:
                content = content[:-3] + bytes((0, _N_COEFFICIENTS - 1, 0))
            behind = _MARKER.search(data, segment.end)
            coded = data[segment.end : behind.start() if behind else len(data)]
            # One zero of the padding stays: it may be of the last block.
            scan = coded.rstrip(b"\0")
            scan += coded[len(scan) : len(scan) + 1]
        yield bytes((0xFF, segment.code)) + (len(content) + 2).to_bytes(2) + content + scan


def _find_warning(data: bytes) -> str:
    """Return a decoder's first warning; "" where there is none, or no decoder."""
    try:
        decode_jpeg(data, "RGB")
    except ValueError as error:
        with suppress(ValueError):
            decode_jpeg(data, "RGB", strict=False)
            return str(error)
    return ""
