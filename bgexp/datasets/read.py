"""Read a dataset: one item per image, with its category, its truth and the hashes of both.

Files are chosen by suffix; whether one is an image shows when it is decoded. Hidden files and
folders are left out, and a FIFO or a device is never opened; all that was left out is counted.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any

from bgexp.config.datasets import Coco, Folder, Pairs, Sample
from bgexp.datasets.coco import CocoImage, read_coco
from bgexp.datasets.decide_mask_rule import decide_mask_rule
from bgexp.datasets.mask_rule import USUAL, MaskRule
from bgexp.datasets.sampling import sample_items
from bgexp.errors import UserError
from bgexp.images.decode import SUFFIXES, ImageError, read_bytes
from bgexp.images.mask_values import MaskContent, survey_mask
from bgexp.system.hashing import hash_bytes, hash_file
from bgexp.system.listing import UNREADABLE, describe_passed_over, escape_path, list_all_files
from bgexp.system.store_copies import fetch_file, fetch_folder
from bgexp.system.stores import Address

_HERE = Path(__file__).parents[1] / "sample"
_SAMPLE = Pairs(name="pairs", images=_HERE / "images", masks=_HERE / "masks")
_SURVEYED = 32  # masks looked at to learn what values mean, beside those that are used
_REASONS: dict[type, str] = {
    FileNotFoundError: "no such folder",
    NotADirectoryError: "not a folder (if it is a zip file, unzip it first)",
}


@dataclass(frozen=True)
class Item:
    """One image and its truth; the hashes are "" where the bytes cannot be read."""

    path: str  # relative to the dataset's root, POSIX, `escape_path`; unique
    category: str  # the folder part of the path; "." at the top level
    file: Path  # absolute, as is the mask
    mask: Path | None
    sha256: str
    mask_sha256: str | None  # of the mask or the annotations; None without truth
    annotations: CocoImage | None = field(default=None, repr=False, compare=False)
    mask_rule: MaskRule = USUAL  # the same in all items of a dataset


@dataclass(frozen=True)
class Dataset:
    """The chosen items, sorted by path; `n_population` is the number of items to choose from."""

    name: str
    root: Path | Address
    items: tuple[Item, ...]
    n_population: int
    mask_rule: MaskRule = USUAL
    passed_over: tuple[tuple[str, int], ...] = ()  # why entries of its folders are none, how many

    @property
    def digest(self) -> str:
        """Return the SHA-256 over each item's path, image hash and mask hash, but not the root.

        What the masks' values mean is in it too, unless it is the usual.
        """
        rows: list[Any] = [[item.path, item.sha256, item.mask_sha256] for item in self.items]
        if not self.mask_rule.is_usual:
            rule = self.mask_rule
            rows.append([rule.meaning, rule.foreground, rule.void, asdict(rule.reading)])
        return hash_bytes(json.dumps(rows).encode())

    @property
    def n_with_truth(self) -> int:
        """Return how many items have a mask or annotations, even empty ones."""
        return sum(item.mask_sha256 is not None for item in self.items)


def read_dataset(settings: Folder | Pairs | Sample | Coco, seed: int) -> Dataset:
    """List a dataset, choose `settings.subset` of it by the seed, and hash the chosen items.

    Raises:
        UserError: A folder is missing, without images or unreadable, or the truth does not fit.
    """
    source = _SAMPLE if isinstance(settings, Sample) else settings
    key = "root" if isinstance(source, Folder) else "images"
    place = source.root if isinstance(source, Folder) else source.images
    root = _resolve(fetch_folder(place, f"dataset.{key}"))
    masks: dict[str, Path] = {}
    annotations: dict[str, CocoImage] = {}
    passed_over: Counter[str] = Counter()
    if isinstance(source, Folder):
        images, passed_over = list_images("dataset.root", root, source.follow_links)
    elif isinstance(source, Pairs):
        truth = _resolve(fetch_folder(source.masks, "dataset.masks"))
        images, masks, passed_over = _list_pairs(root, truth, source.follow_links)
    else:
        annotations, passed_over = _read_annotations(root, source)
        images = {path: root / path for path in annotations}

    selected = sample_items(images, settings.subset or len(images), seed)
    rule = USUAL
    if isinstance(settings, Pairs):
        rule = _find_mask_rule(settings, masks, selected)

    def make_item(path: str) -> Item:
        return _make_item(path, images[path], masks.get(path), annotations.get(path), rule)

    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        items = tuple(pool.map(make_item, selected))
    shown = place if isinstance(place, Address) else root
    return Dataset(settings.name, shown, items, len(images), rule, tuple(passed_over.most_common()))


def _find_mask_rule(settings: Pairs, masks: dict[str, Path], selected: Collection[str]) -> MaskRule:
    """Decide what the masks' values mean, by all that are used and some of the others.

    The others are always the same ones, so that a small subset is read as the whole would be.
    """
    paths = {*sample_items(masks, _SURVEYED, 0), *(path for path in selected if path in masks)}
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        contents = pool.map(_survey_file, (masks[path] for path in sorted(paths)))
        return decide_mask_rule([found for found in contents if found is not None], settings)


def _survey_file(file: Path) -> MaskContent | None:
    """Return what a mask holds; None where it cannot be read, which costs its image later."""
    try:
        status = file.stat()
        return _survey_once(file, status.st_size, status.st_mtime_ns, status.st_ino)
    except (ImageError, OSError):
        return None


@lru_cache(maxsize=100_000)
def _survey_once(file: Path, *_state: int) -> MaskContent:
    """Look at each mask once for all jobs of a sweep."""
    return survey_mask(read_bytes(file))


def _make_item(
    path: str, file: Path, mask: Path | None, annotations: CocoImage | None, rule: MaskRule
) -> Item:
    truth = _hash_file(mask) if mask else annotations.sha256 if annotations else None
    category = Path(path).parent.as_posix()
    return Item(path, category, file, mask, _hash_file(file), truth, annotations, rule)


def _hash_file(file: Path) -> str:
    try:
        status = file.stat()
        if not S_ISREG(status.st_mode):  # a FIFO would never end
            return ""
        return _hash_once(file, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError:  # it becomes a failed row when it is read again
        return ""


@lru_cache(maxsize=1_000_000)
def _hash_once(file: Path, *_state: int) -> str:
    """Hash each file once for all jobs of a sweep; a run checks again what it decodes."""
    return hash_file(file)


def _read_annotations(root: Path, settings: Coco) -> tuple[dict[str, CocoImage], Counter[str]]:
    """Return each image of the annotation file, by the image's path, and what was passed over."""
    file = fetch_file(settings.annotations, "dataset.annotations")
    try:
        os.scandir(root).close()
        images, passed_over = read_coco(file, root, settings.categories)
    except OSError as error:
        raise _describe_os_error("dataset.images", error) from error
    except UserError as error:  # its message may quote names from the file
        raise _make_user_error(str(error)) from error
    if not any(os.path.exists(root / path) for path in images):  # noqa: PTH110  # never raises
        raise _make_user_error(f"dataset.images: no image of {settings.annotations} is in {root}")
    return images, passed_over


def _list_pairs(
    root: Path, truth: Path, follow_links: bool
) -> tuple[dict[str, Path], dict[str, Path], Counter[str]]:
    """Return images and masks, both by the image's path, and what else there is, counted.

    One folder may lie in the other.
    """
    if root == truth:
        raise _make_user_error(f"dataset.masks: the same folder as dataset.images: {truth}")
    images, passed_over = list_images("dataset.images", root, follow_links, without=truth)
    masks, beside = list_images("dataset.masks", truth, follow_links, without=root)
    if not (owners := match_masks(images, masks)):
        hint = f"that of {min(images)} is {min(images)}.png or has the same stem"
        raise _make_user_error(f"dataset.masks: no image has a mask in {truth} ({hint})")
    passed_over += beside + Counter({"a mask without an image": len(masks) - len(owners)})
    return images, {image: masks[mask] for mask, image in owners.items()}, passed_over


def match_masks(
    images: Iterable[str], masks: Iterable[str], key: str = "dataset.masks"
) -> dict[str, str]:
    """Return the image of each mask that has one: by full name plus .png, else by stem.

    Args:
        images: Their paths, relative to their folder.
        masks: The same.
        key: The setting that names the masks, for error messages.

    Raises:
        UserError: A mask may be of several images, or an image may have several.
    """
    by_stem = defaultdict(list)
    for mask in masks:
        by_stem[mask.rpartition(".")[0]].append(mask)
    owners: dict[str, str] = {}
    for image in images:
        full = f"{image}.png"
        matches = [full] if full in by_stem[image] else by_stem[image.rpartition(".")[0]]
        matches = [mask for mask in matches if mask.lower().endswith(".png")] or matches
        rivals = [owners[mask] for mask in matches if mask in owners] + [image]
        if len(matches) > 1 or len(rivals) > 1:
            clash = f"{', '.join(matches)} for {', '.join(rivals)}"
            raise _make_user_error(f"{key}: ambiguous: {clash}; a mask named {full} would be clear")
        owners |= dict.fromkeys(matches, image)
    return owners


def list_images(
    key: str, root: Path, follow_links: bool, without: Path | None = None
) -> tuple[dict[str, Path], Counter[str]]:
    """Return the files with an image's suffix by their escaped path below the root, sorted.

    All else is counted by the reason why it is none.

    Args:
        key: The setting that names the folder, for error messages.
        root: The folder, absolute.
        follow_links: Whether links stand for what they lead to.
        without: A folder that is left out.

    Raises:
        UserError: The folder cannot be read, or has no images.
    """
    images: dict[str, Path] = {}
    passed_over: Counter[str] = Counter()
    try:
        files = list_all_files(root, [without] if without else [], follow_links)
    except OSError as error:
        raise _describe_os_error(key, error) from error
    for entry in files:
        if entry.closed.startswith(UNREADABLE):
            raise _make_user_error(f"{key}: {entry.closed}: {entry.file}")
        file = Path(entry.file)
        if not entry.closed and file.suffix.lower() in SUFFIXES:
            images[entry.path] = file
        else:
            passed_over[entry.closed or "not an image by its name"] += 1
    if not images:
        beside = describe_passed_over(passed_over, "dataset.follow_links")
        what = f"passed over: {beside}; " if beside else ""
        suffixes = " ".join(sorted(SUFFIXES))
        raise _make_user_error(f"{key}: no images in {root} ({what}looked for {suffixes})")
    return images, passed_over


def _resolve(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises on a loop of links


def _describe_os_error(key: str, error: OSError) -> UserError:
    reason = _REASONS.get(type(error), error.strerror)
    return _make_user_error(f"{key}: {reason}: {error.filename}")


def _make_user_error(message: str) -> UserError:
    """Return the error as one line, whatever a name holds: a newline, a terminal escape."""
    return UserError("".join(c if c.isprintable() else repr(c)[1:-1] for c in escape_path(message)))
