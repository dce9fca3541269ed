"""What is in a dataset: one item an image, with its category, its truth and the hashes of both.

A file counts by its suffix; whether it is an image shows where it is decoded. Hidden files and
folders are passed over, links are not followed, and a FIFO or a device is never opened.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from bgexp.config.datasets import Coco, Folder, Pairs, Sample
from bgexp.datasets.coco import CocoImage, read_coco
from bgexp.datasets.sampling import choose
from bgexp.errors import UserError
from bgexp.images.decode import SUFFIXES
from bgexp.system.hashing import sha256_bytes, sha256_file
from bgexp.system.listing import all_files, escaped

_HERE = Path(__file__).parents[1] / "sample"
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
    mask_sha256: str | None  # of the mask or the annotations; None without truth
    annotations: CocoImage | None = field(default=None, repr=False, compare=False)


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
        """How many items have a mask or annotations, be it that there is nothing in them."""
        return sum(item.mask_sha256 is not None for item in self.items)


def read_dataset(settings: Folder | Pairs | Sample | Coco, seed: int) -> Dataset:
    """List a dataset, choose `settings.subset` of it by the seed, and hash what was chosen.

    Raises:
        UserError: a folder is missing, without images or unreadable, or the truth does not fit.
    """
    source = _SAMPLE if isinstance(settings, Sample) else settings
    root = _real(source.root if isinstance(source, Folder) else source.images)
    masks: dict[str, Path] = {}
    annotations: dict[str, CocoImage] = {}
    if isinstance(source, Folder):
        images = _listing("dataset.root", root)
    elif isinstance(source, Pairs):
        images, masks = _pairs(root, _real(source.masks))
    else:
        annotations = _annotations(root, source)
        images = {path: root / path for path in annotations}

    def item(path: str) -> Item:
        return _item(path, images[path], masks.get(path), annotations.get(path))

    chosen = choose(images, settings.subset or len(images), seed)
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        return Dataset(settings.name, root, tuple(pool.map(item, chosen)), len(images))


def _item(path: str, file: Path, mask: Path | None, annotations: CocoImage | None) -> Item:
    truth = _hash(mask) if mask else annotations.sha256 if annotations else None
    return Item(path, Path(path).parent.as_posix(), file, mask, _hash(file), truth, annotations)


def _hash(file: Path) -> str:
    try:
        found = file.stat()
        if not S_ISREG(found.st_mode):  # a FIFO would never end
            return ""
        return _known_hash(file, found.st_size, found.st_mtime_ns, found.st_ino)
    except OSError:  # it becomes a failed row where it is read again
        return ""


@lru_cache(maxsize=1_000_000)
def _known_hash(file: Path, *_state: int) -> str:
    """Hash each file once for all jobs of a sweep; a run checks again what it decodes."""
    return sha256_file(file)


def _annotations(root: Path, settings: Coco) -> dict[str, CocoImage]:
    """Return what the file says of each image, by the image's path."""
    try:
        os.scandir(root).close()
        found = read_coco(settings.annotations, root, settings.categories)
    except OSError as error:
        raise _unreadable("dataset.images", error) from error
    except UserError as error:  # with names out of the file
        raise _wrong(str(error)) from error
    if not any(os.path.exists(root / path) for path in found):  # noqa: PTH110  # never raises
        raise _wrong(f"dataset.images: no image of {settings.annotations} is in {root}")
    return found


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
        files = all_files(root, [without] if without else [])
    except OSError as error:
        raise _unreadable(key, error) from error
    for one in files:
        if one.closed.startswith("unreadable"):
            raise _wrong(f"{key}: {one.closed}: {one.file}")
        if not one.closed and one.file.suffix.lower() in SUFFIXES:
            found[one.path] = one.file
    if not found:
        suffixes = " ".join(sorted(SUFFIXES))
        raise _wrong(f"{key}: no images in {root} (looked for {suffixes}; links do not count)")
    return found


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises on a loop of links


def _unreadable(key: str, error: OSError) -> UserError:
    reason = _REASONS.get(type(error), error.strerror)
    return _wrong(f"{key}: {reason}: {error.filename}")


def _wrong(message: str) -> UserError:
    """Return the error as one line, whatever a name holds: a newline, a terminal escape."""
    return UserError("".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped(message)))
