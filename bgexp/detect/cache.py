"""Detectors' outputs kept on disk, so that a sweep runs the network once for each image.

An entry holds the network's output above its score floor; what is chosen from it later (scores,
labels, instances, thresholds) is no part of it.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import perf_counter, time
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from bgexp.detect.detections import Detections, DetectorOutput, Selection, SoftMask
from bgexp.detect.detector import Detector
from bgexp.system.atomic import TEMPORARY, write_whole
from bgexp.system.hashing import hash_bytes
from bgexp.system.state_files import read_state
from bgexp.system.zip_members import refuse_bomb

_ABANDONED_SECONDS = 3600  # a temporary file this old belongs to a process that was killed
_MAX_BYTES = 2**29  # of an entry, unpacked, too: a soft mask of 500 megapixels
_ARRAYS = ("boxes", "labels", "scores", "masks")

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Entry:
    """A detector's output, all above a score floor, and how many ms the network took for it."""

    output: DetectorOutput
    network_ms: float


class DetectionCache:
    """Entries by key in a folder, the longest unused ones deleted beyond a number of bytes.

    Any number of processes may use one folder: an entry is written atomically, and one
    that cannot be read counts as missing. Nothing in it can run code.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._bytes_since_trim = math.inf  # the first write trims what earlier runs left

    def get(self, key: str, floor: float) -> Entry | None:
        """Return the entry if its floor is at or below this one, without the scores between."""
        path = self._get_path(key)
        try:
            entry, lowest = _decode(_read(path), key)
        except FileNotFoundError:
            return None
        except Exception:  # damaged bytes raise nearly every type
            log.debug("damaged cache entry %s", path, exc_info=True)
            return None
        if lowest > floor:
            return None
        with suppress(OSError):
            os.utime(path)  # a file's time tells its last use
        if isinstance(entry.output, SoftMask):
            return entry
        return Entry(entry.output.select(entry.output.scores > floor), entry.network_ms)

    def put(self, key: str, floor: float, entry: Entry) -> None:
        """Write an entry; where the disk refuses, only log it: a run needs no cache."""
        data = _encode(key, floor, entry)
        try:
            write_whole(self._get_path(key), data)
            self._bytes_since_trim += len(data)
            if self._bytes_since_trim > self._max_bytes / 20:
                self._trim()
        except OSError as error:
            log.warning("the detection cache in %s cannot be written: %s", self._folder, error)

    def _get_path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.npz"

    def _trim(self) -> None:
        """Delete the longest unused entries until a tenth of the room is free."""
        self._bytes_since_trim = 0
        for path, stat in self._list_files(TEMPORARY):
            if time() - stat.st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        entries = self._list_files("*.npz")
        total = sum(stat.st_size for _, stat in entries)
        aim = total if total <= self._max_bytes else 0.9 * self._max_bytes
        for path, stat in sorted(entries, key=lambda entry: entry[1].st_mtime_ns):
            if total <= aim:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size

    def _list_files(self, pattern: str) -> list[tuple[Path, os.stat_result]]:
        files = []
        for path in self._folder.glob(f"*/{pattern}"):
            with suppress(FileNotFoundError):  # another process may trim at the same time
                files.append((path, path.stat()))
        return files


class CachedDetector:
    """A detector behind a cache: a file that is in the cache is not computed again.

    The network is built for the first file that is not in the cache.
    """

    def __init__(
        self,
        build: Callable[[], Detector],
        cache: DetectionCache | None,
        identity: Mapping[str, Any],
        *,
        floor: float,
        selection: Selection,
    ) -> None:
        self._build = build
        self._network: Detector | None = None
        self._cache, self._identity, self._floor = cache, identity, floor
        self.selection = selection

    def for_file(self, sha256: str, path: str = "") -> "FileDetector":  # noqa: ARG002
        """Return a detector for the image in the file of this hash, wherever that is."""
        return FileDetector(self, sha256)

    def detect_file(self, image: NDArray[np.uint8], sha256: str) -> tuple[Entry, bool]:
        """Detect in a file's image, HxWx3 uint8 RGB; return the entry and whether it was cached."""
        key = hash_bytes(json.dumps([sha256, self._identity], sort_keys=True).encode())
        entry = self._cache.get(key, self._floor) if self._cache is not None else None
        size = image.shape[:2]
        if entry is not None and (entry.output.height, entry.output.width) == size:
            return entry, True
        if self._network is None:
            self._network = self._build()
        started = perf_counter()
        detections = self._network.detect(image)
        entry = Entry(detections, 1000 * (perf_counter() - started))
        if self._cache is not None:
            self._cache.put(key, self._floor, entry)
        return entry, False


class FileDetector:
    """A detector for the image of one file.

    Attributes:
        cached: Whether its output came from the cache; None before `detect`.
        network_ms: Milliseconds that the network took, now or when the entry was made.
    """

    def __init__(self, detector: CachedDetector, sha256: str) -> None:
        self._detector, self._sha256 = detector, sha256
        self.selection = detector.selection
        self.cached: bool | None = None
        self.network_ms = math.nan

    def detect(self, image: NDArray[np.uint8]) -> DetectorOutput:
        """Detect in the file's image, HxWx3 uint8 RGB."""
        entry, self.cached = self._detector.detect_file(image, self._sha256)
        self.network_ms = entry.network_ms
        return entry.output


def _encode(key: str, floor: float, entry: Entry) -> bytes:
    detections = entry.output
    names = _ARRAYS if isinstance(detections, Detections) else ("mask",)
    file = BytesIO()
    np.savez_compressed(
        file,
        key=np.array(key),
        numbers=np.array(
            [floor, entry.network_ms, detections.height, detections.width], np.float64
        ),
        **{name: getattr(detections, name) for name in names},
    )
    return file.getvalue()


def _read(path: Path) -> bytes:
    """Return the bytes of an entry, or raise OSError or ValueError where it is none of `_encode`.

    A few bytes may stand for gigabytes of zeros.
    """
    data = read_state(path, _MAX_BYTES)
    with ZipFile(BytesIO(data)) as archive:
        refuse_bomb(archive.infolist(), _MAX_BYTES)
    return data


def _decode(data: bytes, key: str) -> tuple[Entry, float]:
    """Return the entry and its floor; bytes not written by `_encode` raise any exception."""
    with np.load(BytesIO(data), allow_pickle=False) as archive:
        if str(archive["key"]) != key:
            raise ValueError("the entry of another key")
        floor, network_ms, height, width = archive["numbers"].tolist()
        if "mask" in archive:
            return Entry(SoftMask(archive["mask"]), network_ms), floor
        arrays = {name: archive[name] for name in _ARRAYS}
    detections = Detections(**arrays, height=int(height), width=int(width))
    return Entry(detections, network_ms), floor
