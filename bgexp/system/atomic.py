"""Files written whole or not at all, and the hashes that name what is in them."""

import json
import math
import os
import secrets
from contextlib import suppress
from pathlib import Path

# A killed process may leave such a file: whoever owns the folder may delete it.
TEMPORARY = ".bgexp-*.part"


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, whenever the process dies, the old file or the new one is there whole.

    Missing parent folders are made. The bytes are on disk when this returns.

    Raises:
        OSError: It could not be written; no temporary file is left. Only where the very last step,
            the folder's fsync, fails does the path hold the new file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not derived from the target's name, which may already be as long as a name can be.
    temporary = path.parent / TEMPORARY.replace("*", secrets.token_hex(8))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """Write strict JSON with `write_whole`: keys in their order, NaN and infinities as null.

    Raises:
        TypeError: Something in `obj` has no JSON form.
        OSError: As in `write_whole`.
    """
    text = json.dumps(_replace_non_finite(obj), indent=2, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


def _replace_non_finite(obj: object) -> object:
    """Return the same structure with None for every float that JSON cannot express."""
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else None
    if isinstance(obj, dict):
        return {key: _replace_non_finite(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_replace_non_finite(value) for value in obj]
    return obj
