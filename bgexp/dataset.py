"""What is in a dataset: one item an image, with its category, its truth and the hashes of both.

A file counts by its suffix; whether it is an image shows where it is decoded. Hidden files and
folders are passed over, links are not followed, and a FIFO or a device is never opened.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bgexp.config import Folder, Pairs, Sample
from bgexp.errors import UserError
from bgexp.files import sha256_bytes, sha256_file
from bgexp.images import SUFFIXES

_HERE = Path(__file__).parent / "sample"
_SAMPLE = Pairs(name="pairs", images=_HERE / "images", masks=_HERE / "masks")
_REASONS: dict[type, str] = {
    FileNotFoundError: "no such folder",
    NotADirectoryError: "not a folder (if it is a zip file, unzip it first)",
}


@dataclass(frozen=True)
class Item:
    """One image and its truth; the hashes are "" where the bytes cannot be read."""

    path: str  # relative to the dataset's root, POSIX, `escaped`; unique
    category: str  # the folder part of the path; "." at the top level
    file: Path  # absolute, as is the mask
    mask: Path | None
    sha256: str
    mask_sha256: str | None  # None without a mask


@dataclass(frozen=True)
class Dataset:
    """The chosen items, sorted by path; `n_population` is how many there were to choose from."""

    name: str
    root: Path
    items: tuple[Item, ...]
    n_population: int

    @property
    def digest(self) -> str:
        """SHA-256 over path, image hash and mask hash of every item, wherever the root lies."""
        rows = [[item.path, item.sha256, item.mask_sha256] for item in self.items]
        return sha256_bytes(json.dumps(rows).encode())

    @property
    def n_with_truth(self) -> int:
        """How many items have a mask."""
        return sum(item.mask is not None for item in self.items)


def read_dataset(settings: Folder | Pairs | Sample, seed: int) -> Dataset:
    """List a dataset, choose `settings.subset` of it by the seed, and hash what was chosen.

    Raises:
        UserError: a folder is missing, without images or unreadable, or the masks do not fit.
    """
    source = _SAMPLE if isinstance(settings, Sample) else settings
    if isinstance(source, Folder):
        root = _real(source.root)
        images, masks = _listing("dataset.root", root), dict[str, Path]()
    else:
        root = _real(source.images)
        images, masks = _pairs(root, _real(source.masks))
    chosen = choose(images, settings.subset or len(images), seed)
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        items = tuple(pool.map(lambda path: _item(path, images[path], masks.get(path)), chosen))
    return Dataset(settings.name, root, items, len(images))


def escaped(path: str) -> str:
    r"""Return a path with the bytes that are not UTF-8 as percent escapes.

    >>> escaped(os.fsdecode(b"caf\xe9/50%.jpg"))
    'caf%E9/50%.jpg'
    """
    return re.sub("[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", path)


def choose(paths: Collection[str], n: int, seed: int) -> list[str]:
    """Return n of the paths (all where there are fewer), sorted, each category by its share.

    The same seed and set of paths give the same choice, in whatever order they come.
    """
    groups = defaultdict(list)
    for path in sorted(paths, key=lambda path: sha256_bytes(f"{seed} {path}".encode())):
        groups[Path(path).parent].append(path)
    counts = _shares({name: len(group) for name, group in groups.items()}, min(n, len(paths)))
    return sorted(path for name, group in groups.items() for path in group[: counts[name]])


def _shares(sizes: dict[Path, int], n: int) -> dict[Path, int]:
    """Return how many to take of each category by largest remainder, the first before a tie.

    Where n allows one of each, categories whose share is less get one; the rest is shared.
    """
    total = sum(sizes.values())
    small = {name for name, size in sizes.items() if size * n < total}
    if small and n >= len(sizes):
        others = {name: size for name, size in sizes.items() if name not in small}
        return dict.fromkeys(small, 1) | _shares(others, n - len(small))
    counts = {name: size * n // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: -(sizes[name] * n % total))
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def _item(path: str, file: Path, mask: Path | None) -> Item:
    category = Path(path).parent.as_posix()
    return Item(path, category, file, mask, _hash(file), _hash(mask) if mask else None)


def _hash(file: Path) -> str:
    try:
        return sha256_file(file)
    except OSError:  # it becomes a failed row where it is read again
        return ""


def _pairs(root: Path, truth: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return images and masks, both by the image's path; one folder may lie in the other."""
    if root == truth:
        raise _wrong(f"dataset.masks: the same folder as dataset.images: {truth}")
    images = _listing("dataset.images", root, without=truth)
    masks = _listing("dataset.masks", truth, without=root)
    if not (owners := _match(images, masks)):
        hint = f"that of {min(images)} is {min(images)}.png or has the same stem"
        raise _wrong(f"dataset.masks: no image has a mask in {truth} ({hint})")
    return images, {image: masks[mask] for mask, image in owners.items()}


def _match(images: Iterable[str], masks: Iterable[str]) -> dict[str, str]:
    """Return the image of each mask that has one: by full name plus .png, else by stem."""
    by_stem = defaultdict(list)
    for mask in masks:
        by_stem[mask.rpartition(".")[0]].append(mask)
    owners: dict[str, str] = {}
    for image in images:
        full = f"{image}.png"
        fits = [full] if full in by_stem[image] else by_stem[image.rpartition(".")[0]]
        fits = [mask for mask in fits if mask.lower().endswith(".png")] or fits
        rivals = [owners[mask] for mask in fits if mask in owners] + [image]
        if len(fits) > 1 or len(rivals) > 1:
            clash = f"{', '.join(fits)} for {', '.join(rivals)}"
            raise _wrong(f"dataset.masks: ambiguous: {clash}; a mask named {full} would be clear")
        owners |= dict.fromkeys(fits, image)
    return owners


def _listing(key: str, root: Path, without: Path | None = None) -> dict[str, Path]:
    """Return the files with an image's suffix by their escaped path below the root, sorted."""
    found: dict[str, Path] = {}
    try:
        for file in _walk(root, without):
            path = escaped(file.relative_to(root).as_posix())
            if path in found:
                raise _wrong(f"{key}: two files would be called {path}, one of them not in UTF-8")
            found[path] = file
    except OSError as error:
        reason = _REASONS.get(type(error), error.strerror)
        raise _wrong(f"{key}: {reason}: {error.filename}") from error
    if not found:
        suffixes = " ".join(sorted(SUFFIXES))
        raise _wrong(f"{key}: no images in {root} (looked for {suffixes}; links do not count)")
    return dict(sorted(found.items()))


def _walk(root: Path, without: Path | None) -> Iterator[Path]:
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.name.startswith(".") or path == without:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif path.suffix.lower() in SUFFIXES and entry.is_file(follow_symlinks=False):
                    yield path


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises on a loop of links


def _wrong(message: str) -> UserError:
    """Return the error as one line, whatever a name holds: a newline, a terminal escape."""
    return UserError("".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped(message)))
