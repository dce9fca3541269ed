"""Lines of JSON that each carry a checksum: one that is torn or damaged is known as such."""

import json
from collections.abc import Mapping
from typing import Any

from bgexp.system.hashing import hash_bytes

_CHECKSUM = 16  # hexadecimal digits of the line's SHA-256


def encode_line(content: Mapping[str, Any]) -> bytes:
    """Return the line; it ends with the only line break in it.

    Raises:
        ValueError: A number has no JSON form.
    """
    # ASCII: no name then holds a line break, whatever characters a reader splits lines at.
    text = json.dumps(content, allow_nan=False).encode()
    return hash_bytes(text)[:_CHECKSUM].encode() + b" " + text + b"\n"


def find_text(line: bytes) -> bytes | None:
    """Return the JSON text of a line; None where the line is not whole."""
    checksum, _, text = line.partition(b" ")
    if not line.endswith(b"\n") or hash_bytes(text[:-1])[:_CHECKSUM].encode() != checksum:
        return None
    return text
