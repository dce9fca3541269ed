"""Where each result goes: the input's tree mirrored, and no two results under one name."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np

from bgexp.system.hashing import hash_bytes

# The folders of results.
REGULAR, OUTLIER, MASKS, ALPHAS = "regular", "outliers", "masks", "alphas"
TREES = (REGULAR, OUTLIER, MASKS, ALPHAS)
LONGEST = 255  # bytes of a name, on all usual file systems
_HASH_DIGITS = 8


def plan_output_paths(files: Iterable[tuple[str, str]], suffix: str) -> Callable[[str, str], str]:
    """Return the function from an input's path and top folder to the path of its output.

    `cat/x.jpg` goes to TOP/cat/x.png, relative to the output folder. Where two inputs would meet,
    on a file system too that takes upper and lower case or the Unicode forms of a letter as one,
    each keeps its own suffix in the name (`x.jpg.png`), and where they still would, or a name were
    too long, it gets eight digits of its path's hash. The result does not depend on the order of
    the inputs. Held in memory are eight bytes of hash for each input, and the names of those that
    would meet.

    Args:
        files: Each input's path, POSIX and relative, and its top folder, such as "regular"; gone
            through several times, so no iterator.
        suffix: The results' suffix, such as ".png".
    """
    used_keys = {key for path, top in files for key in _hash_folders(_get_folder(path), top)}
    names = (_join_path(path, top, _name_by_stem(path, suffix)) for path, top in files)
    stem_keys = np.fromiter((_hash_name(name) if name else 0 for name in names), np.uint64)
    keys, uses = np.unique(stem_keys[stem_keys > 0], return_counts=True)
    unique_keys = np.setdiff1d(keys[uses == 1], np.fromiter(used_keys, np.uint64))
    is_named = np.isin(stem_keys, unique_keys)
    unnamed = {path: top for (path, top), named in zip(files, is_named, strict=True) if not named}
    if unnamed:
        used_keys |= set(unique_keys.tolist())
    outputs: dict[str, str] = {}
    for make_name in (_name_in_full, _name_with_hash):
        full_names = {
            path: _join_path(path, top, make_name(path, suffix)) for path, top in unnamed.items()
        }
        times = Counter(_hash_name(name) for name in full_names.values() if name)
        unique = {
            path: name
            for path, name in full_names.items()
            if name and times[_hash_name(name)] == 1 and _hash_name(name) not in used_keys
        }
        outputs |= unique
        used_keys |= {_hash_name(name) for name in unique.values()}
        unnamed = {path: top for path, top in unnamed.items() if path not in unique}
    if unnamed:
        raise ValueError(f"no free output name for {list(unnamed)[:3]}")

    def name_output(path: str, top: str) -> str:
        return outputs.get(path) or _join_path(path, top, _name_by_stem(path, suffix))

    return name_output


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
    return "/".join([*_mirror_folders(_get_folder(path), top), name])


def _get_folder(path: str) -> str:
    return path.rpartition("/")[0]


@lru_cache
def _mirror_folders(folder: str, top: str) -> Sequence[str]:
    """Return the folders of an output; names that escapes made too long are shortened."""
    parts = PurePosixPath(folder).parts
    return [
        top,
        *(_shorten_name(part, "/".join(parts[: depth + 1])) for depth, part in enumerate(parts)),
    ]


@lru_cache
def _hash_folders(folder: str, top: str) -> Sequence[int]:
    parts = _mirror_folders(folder, top)
    return [_hash_name("/".join(parts[: depth + 1])) for depth in range(len(parts))]


def _shorten_name(name: str, path: str, suffix: str = "", always: bool = False) -> str:
    if not always and len((name + suffix).encode()) <= LONGEST:
        return name + suffix
    ending = f"~{hash_bytes(path.encode())[:_HASH_DIGITS]}{suffix}"
    return name.encode()[: LONGEST - len(ending.encode())].decode(errors="ignore") + ending


def _hash_name(name: str) -> int:
    """Return the same 64 bits for all names that some file system takes as one."""
    folded = unicodedata.normalize("NFD", name).casefold()
    digest = hashlib.blake2b(unicodedata.normalize("NFC", folded).encode(), digest_size=8).digest()
    return int.from_bytes(digest) or 1  # 0 stands for no name
