"""SHA-256 of bytes and files."""

import hashlib
import os
from pathlib import Path


def hash_bytes(data: bytes) -> str:
    """Return the SHA-256 of the bytes, 64 hexadecimal digits.

    >>> hash_bytes(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, 64 hexadecimal digits, in bounded memory.

    Raises:
        OSError: The file cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
