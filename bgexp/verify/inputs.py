"""Whether an input is still the file that was recorded."""

import os
from pathlib import Path

from bgexp.system.hashing import hash_bytes, hash_file
from bgexp.system.store_copies import explain_missing
from bgexp.system.stores import Address, StoreError, read_object
from bgexp.verify.verification import Damage


def explain_unreachable(root: Path | Address) -> str:
    """Return why the inputs below a root cannot be looked at; "" where they can."""
    if isinstance(root, Address):
        return explain_missing(root)
    try:
        root.stat()
    except OSError as error:
        return error.strerror or "unreadable"
    return ""


def check_input(place: Path | Address, sha256: str, row: str) -> Damage | None:
    """Return what is wrong with an input; None where it is as it was.

    Raises:
        StoreError: Its store does not answer, or refuses.
    """
    actual = ""
    try:
        if isinstance(place, Address):
            actual = hash_bytes(read_object(place)[0])
        elif not place.is_file():  # a pipe would never end
            raise FileNotFoundError
        else:
            actual = hash_file(place)
        problem = "" if actual == sha256 else "the input was changed"
    except FileNotFoundError:
        problem = "the input is gone"
    except StoreError:
        raise
    except OSError as error:
        problem = f"the input cannot be read: {error.strerror}"
    return Damage(os.fspath(place), problem, row) if problem else None
