"""Where each result goes: the input's tree mirrored, and no two results under one name."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from bgexp.system.hashing import sha256_bytes

LONGEST = 255  # bytes of a name, on all usual file systems
_MARK = 8  # digits of a hash


def output_paths(tops: Mapping[str, str], suffix: str) -> dict[str, str]:
    """The output of each input, relative to the output folder.

    `cat/x.jpg` goes to TOP/cat/x.png. Where two inputs would meet, on a file system too that takes
    upper and lower case or the Unicode forms of a letter as one, each keeps its own suffix in the
    name (`x.jpg.png`), and where they still would, or a name were too long, it gets eight digits
    of its path's hash. The result does not depend on the order of the inputs.

    Args:
        tops: By the input's path, POSIX and relative: the folder at the top, such as "regular".
        suffix: Of the results, such as ".png".
    """
    found: dict[str, str] = {}
    folders = {_key(folder) for path, top in tops.items() for folder in _folders(path, top)}
    taken = set(folders)
    waiting = list(tops)
    for shape in (_stem, _full, _marked):
        names = {path: _place(path, tops[path], shape(path, suffix)) for path in waiting}
        meeting = Counter(_key(name) for name in names.values() if name)
        free = {
            path: name
            for path, name in names.items()
            if name and meeting[_key(name)] == 1 and _key(name) not in taken
        }
        found |= free
        taken |= {_key(name) for name in free.values()}
        waiting = [path for path in waiting if path not in free]
    if waiting:
        raise ValueError(f"no free output name for {waiting[:3]}")
    return found


def _stem(path: str, suffix: str) -> str:
    return PurePosixPath(path).stem + suffix


def _full(path: str, suffix: str) -> str:
    return PurePosixPath(path).name + suffix


def _marked(path: str, suffix: str) -> str:
    return _shortened(PurePosixPath(path).name, path, suffix, always=True)


def _place(path: str, top: str, name: str) -> str:
    """The whole path; "" where the name is too long."""
    if len(name.encode()) > LONGEST:
        return ""
    return "/".join([*_mirrored(path, top), name])


def _mirrored(path: str, top: str) -> Sequence[str]:
    """The folders of an output; names that escapes made too long are shortened."""
    parts = PurePosixPath(path).parts[:-1]
    return [top, *(_shortened(part, "/".join(parts[: n + 1])) for n, part in enumerate(parts))]


def _folders(path: str, top: str) -> list[str]:
    parts = _mirrored(path, top)
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _shortened(name: str, path: str, suffix: str = "", always: bool = False) -> str:
    if not always and len((name + suffix).encode()) <= LONGEST:
        return name + suffix
    mark = f"~{sha256_bytes(path.encode())[:_MARK]}{suffix}"
    return name.encode()[: LONGEST - len(mark.encode())].decode(errors="ignore") + mark


def _key(name: str) -> str:
    """The same for all names that some file system takes as one."""
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", folded)
