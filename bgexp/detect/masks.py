"""The masks or cut-outs of any tool in place of a network: each image's is found by its path."""

import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from bgexp.config.detectors import Masks
from bgexp.datasets.decide_mask_rule import decide_mask_rule
from bgexp.datasets.load import check_size
from bgexp.datasets.mask_rule import MaskRule
from bgexp.datasets.read import Item, list_images, match_masks
from bgexp.datasets.sampling import sample_items
from bgexp.detect.detections import Selection, SoftMask
from bgexp.detect.weights import Weights
from bgexp.errors import UserError
from bgexp.images.decode import SUFFIXES, ImageError, read_bytes
from bgexp.images.mask_values import MaskContent, survey_mask
from bgexp.system.hashing import hash_bytes
from bgexp.system.listing import escape_path
from bgexp.system.store_copies import fetch_file, fetch_folder
from bgexp.system.stores import Address
from bgexp.system.zip_members import read_member
from bgexp.tracking.run_folder import MASKS, ROWS

KEY = "detector.path"
_SURVEYED = 32  # masks looked at beside those that are used, as of a dataset
_MAX_BYTES = 2**30  # of one file in a zip file, unpacked


@dataclass(frozen=True)
class ToolMasks:
    """The masks that a tool made of the images of a dataset.

    Attributes:
        place: The folder or the zip file.
        files: By the image's path, each mask's path, or its name in the zip file.
        rule: What their values mean.
        digest: SHA-256 over the images' paths and the masks' hashes.
        n_images: Images of the dataset, those without a mask included.
        n_others: Masks of no image of the dataset.
    """

    place: Path
    files: Mapping[str, str]
    rule: MaskRule
    digest: str
    n_images: int
    n_others: int

    @property
    def weights(self) -> Weights:
        """Return what stands in the place of a network's weights."""
        return Weights(self.place.name, self.place, self.digest, KEY)

    def describe(self) -> str:
        """Return how many masks there are and how they are read."""
        others = f", {self.n_others:,} of other images" if self.n_others else ""
        return f"{len(self.files):,} for {self.n_images:,} images{others}; {self.rule.describe()}"

    def load(self, path: str, image: NDArray[np.uint8]) -> SoftMask:
        """Return the soft mask of an image, HxWx3 uint8 RGB, by its path.

        Raises:
            ImageError: There is none, it cannot be read, or it is of another size.
        """
        if path not in self.files:
            raise ImageError(f"no mask of it is in {self.place}")
        try:
            soft = self.rule.decode_soft(_read_file(self.place, self.files[path]))
        except ImageError as error:
            raise ImageError(f"its mask: {error}") from error
        check_size(soft, image)
        return SoftMask(soft)


class MaskReader:
    """Gives each file of a dataset the mask that a tool made of it."""

    def __init__(self, masks: ToolMasks) -> None:
        self._masks = masks

    def for_file(self, _sha256: str, path: str) -> "FileMask":
        """Return what gives the mask of the image at this path in the dataset."""
        return FileMask(self._masks, path)


class FileMask:
    """The mask of one image, where a detector is expected.

    Attributes:
        selection: Of no use: a soft mask has no scores and no classes.
        cached: False: it is read each time.
        network_ms: Milliseconds that reading it took.
    """

    def __init__(self, masks: ToolMasks, path: str) -> None:
        self._masks, self._path = masks, path
        self.selection = Selection(0.0)
        self.cached: bool | None = False
        self.network_ms = math.nan

    def detect(self, image: NDArray[np.uint8]) -> SoftMask:
        """Return the mask of the image, HxWx3 uint8 RGB."""
        started = perf_counter()
        soft = self._masks.load(self._path, image)
        self.network_ms = 1000 * (perf_counter() - started)
        return soft


def find_masks(settings: Masks, items: Sequence[Item]) -> ToolMasks:
    """Find the masks of a dataset's images, and decide what their values mean.

    Raises:
        UserError: There are none, it is not clear whose they are, or what their values mean.
    """
    place = _find_place(settings.path)
    names = _list_zip(place) if place.is_file() else _list_folder(place)
    images = [item.path for item in items]
    owners = match_masks(images, names, KEY)
    if not owners and place.is_file():
        names = _strip_folder(names)
        owners = match_masks(images, names, KEY)
    if not owners:
        hint = f"that of {images[0]} is {images[0]}.png or has the same stem"
        raise _make_user_error(f"no image of the dataset has a mask in {place} ({hint})")
    surveyed = sorted({*owners, *sample_items(names, _SURVEYED, 0)})
    with ThreadPoolExecutor() as pool:  # decoding releases the GIL
        looks = dict(zip(surveyed, pool.map(_make_look(place, names), surveyed), strict=True))
    contents = [look.content for look in looks.values() if look.content is not None]
    files = {owners[name]: names[name] for name in owners}
    rows = sorted((owners[name], looks[name].sha256) for name in owners)
    return ToolMasks(
        place=place,
        files=files,
        rule=decide_mask_rule(contents, settings, "detector"),
        digest=hash_bytes(json.dumps(rows).encode()),
        n_images=len(images),
        n_others=len(names) - len(owners),
    )


def _find_place(path: Path | Address) -> Path:
    """Return the folder or the zip file; of a run's folder its masks."""
    if isinstance(path, Address):
        is_zip = path.name.lower().endswith(".zip")
        return fetch_file(path, KEY) if is_zip else fetch_folder(path, KEY)
    if not path.exists():
        raise _make_user_error(f"no such folder or file: {path}")
    place = path.resolve()
    is_run = (place / ROWS).is_file() and (place / MASKS).is_file()
    return place / MASKS if is_run else place


def _list_folder(folder: Path) -> dict[str, str]:
    """Return the files by their paths below the folder."""
    images, _ = list_images(KEY, folder, follow_links=False)
    return {path: str(file) for path, file in images.items()}


def _list_zip(file: Path) -> dict[str, str]:
    """Return the names in a zip file that may be masks; nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise _make_user_error(f"neither a folder nor a whole zip file: {file}") from error
    return {
        name: name
        for name in names
        if PurePosixPath(name).suffix.lower() in SUFFIXES
        and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    }


def _strip_folder(names: Mapping[str, str]) -> dict[str, str]:
    """Return names without the folder that all of them lie in, where there is one."""
    folders = {name.partition("/")[0] for name in names}
    if len(folders) != 1 or any("/" not in name for name in names):
        return dict(names)
    return {path.partition("/")[2]: name for path, name in names.items()}


@dataclass(frozen=True)
class _Look:
    """What a mask file holds; None where it cannot be read, which costs its image later."""

    content: MaskContent | None
    sha256: str


def _make_look(place: Path, names: Mapping[str, str]) -> Callable[[str], _Look]:
    state = _read_state(place)

    def look(name: str) -> _Look:
        own = state if place.is_file() else _read_state(Path(names[name]))
        return _look_once(place, names[name], own)

    return look


def _read_state(file: Path) -> tuple[int, ...]:
    with suppress(OSError):
        status = file.stat()
        return status.st_size, status.st_mtime_ns, status.st_ino
    return ()


@lru_cache(maxsize=100_000)
def _look_once(place: Path, file: str, _state: tuple[int, ...]) -> _Look:
    """Look at each mask once for all jobs of a sweep."""
    sha256 = ""
    try:
        data = _read_file(place, file)
        sha256 = hash_bytes(data)
        return _Look(survey_mask(data), sha256)
    except ImageError:
        return _Look(None, sha256)


def _read_file(place: Path, file: str) -> bytes:
    """Return the bytes of a mask in a folder or a zip file, or raise ImageError."""
    if place.is_dir():
        return read_bytes(Path(file))
    try:
        return read_member(_open_archive(place, _read_state(place)), file, _MAX_BYTES)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ImageError(f"cannot be read from {place.name}: {error}") from error


@lru_cache(maxsize=4)
def _open_archive(place: Path, _state: tuple[int, ...]) -> zipfile.ZipFile:
    """Open a zip file once in each process; reading from several threads is safe."""
    return zipfile.ZipFile(place)


def _make_user_error(message: str) -> UserError:
    return UserError(f"{KEY}: {escape_path(message)}")
