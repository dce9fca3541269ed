"""Where each result goes: the input's tree mirrored, and no two results under one name."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from bgexp.system.hashing import hash_bytes

REGULAR, OUTLIER, MASKS = "regular", "outliers", "masks"  # the folders of results
LONGEST = 255  # bytes of a name, on all usual file systems
_HASH_DIGITS = 8


def plan_output_paths(tops: Mapping[str, str], suffix: str) -> dict[str, str]:
    """Return the output path of each input, relative to the output folder.

    `cat/x.jpg` goes to TOP/cat/x.png. Where two inputs would meet, on a file system too that takes
    upper and lower case or the Unicode forms of a letter as one, each keeps its own suffix in the
    name (`x.jpg.png`), and where they still would, or a name were too long, it gets eight digits
    of its path's hash. The result does not depend on the order of the inputs.

    Args:
        tops: The top folder, such as "regular", by the input's path, POSIX and relative.
        suffix: The results' suffix, such as ".png".
    """
    outputs: dict[str, str] = {}
    folders = {
        _fold_name(folder) for path, top in tops.items() for folder in _list_folders(path, top)
    }
    used_keys = set(folders)
    unnamed = list(tops)
    for make_name in (_name_by_stem, _name_in_full, _name_with_hash):
        names = {path: _join_path(path, tops[path], make_name(path, suffix)) for path in unnamed}
        uses = Counter(_fold_name(name) for name in names.values() if name)
        unique = {
            path: name
            for path, name in names.items()
            if name and uses[_fold_name(name)] == 1 and _fold_name(name) not in used_keys
        }
        outputs |= unique
        used_keys |= {_fold_name(name) for name in unique.values()}
        unnamed = [path for path in unnamed if path not in unique]
    if unnamed:
        raise ValueError(f"no free output name for {unnamed[:3]}")
    return outputs


def _name_by_stem(path: str, suffix: str) -> str:
    return PurePosixPath(path).stem + suffix


def _name_in_full(path: str, suffix: str) -> str:
    return PurePosixPath(path).name + suffix


def _name_with_hash(path: str, suffix: str) -> str:
    return _shorten_name(PurePosixPath(path).name, path, suffix, always=True)


def _join_path(path: str, top: str, name: str) -> str:
    """Return the path of an output; "" where its name is too long."""
    if len(name.encode()) > LONGEST:
        return ""
    return "/".join([*_mirror_folders(path, top), name])


def _mirror_folders(path: str, top: str) -> Sequence[str]:
    """Return the folders of an output; names that escapes made too long are shortened."""
    parts = PurePosixPath(path).parts[:-1]
    return [
        top,
        *(_shorten_name(part, "/".join(parts[: depth + 1])) for depth, part in enumerate(parts)),
    ]


def _list_folders(path: str, top: str) -> list[str]:
    parts = _mirror_folders(path, top)
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _shorten_name(name: str, path: str, suffix: str = "", always: bool = False) -> str:
    if not always and len((name + suffix).encode()) <= LONGEST:
        return name + suffix
    ending = f"~{hash_bytes(path.encode())[:_HASH_DIGITS]}{suffix}"
    return name.encode()[: LONGEST - len(ending.encode())].decode(errors="ignore") + ending


def _fold_name(name: str) -> str:
    """Map all names that some file system takes as one to the same text."""
    folded = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", folded)
