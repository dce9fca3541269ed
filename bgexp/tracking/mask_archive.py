"""The masks of a run in one zip file: a PNG an image, named as the image with .png appended."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import decode_mask
from bgexp.system.atomic import open_whole


class MaskArchive:
    """An open file of masks; as a context manager it closes the file."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an archive for reading.

        Raises:
            OSError: It is gone.
            zipfile.BadZipFile: It is damaged.
        """
        return cls(zipfile.ZipFile(path))

    @classmethod
    @contextmanager
    def create(cls, path: Path) -> Iterator[Self]:
        """Open a new archive for writing; it gets its name when it is complete."""
        with open_whole(path) as opened, zipfile.ZipFile(opened, "w") as file:
            yield cls(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, path: str, png: bytes) -> None:
        """Add the mask of an image by the image's path, as an encoded PNG."""
        self._file.writestr(zipfile.ZipInfo(f"{path}.png"), png)

    def read(self, path: str) -> NDArray[np.bool_]:
        """Read the mask of an image by the image's path, HxW bool, True = foreground.

        Raises:
            KeyError: There is none.
            ImageError: It cannot be decoded.
        """
        return decode_mask(self.read_png(path))

    def read_png(self, path: str) -> bytes:
        """Read the mask file of an image by the image's path.

        Raises:
            KeyError: There is none.
            zipfile.BadZipFile: It does not have the archive's checksum.
        """
        return self._file.read(f"{path}.png")

    def list_names(self) -> list[str]:
        """Return the names of the files in it."""
        return self._file.namelist()

    def read_fingerprint(self, path: str) -> tuple[int, int]:
        """Return the checksum and size of an image's mask file: equal ones are equal masks.

        Raises:
            KeyError: There is none.
        """
        entry = self._file.getinfo(f"{path}.png")
        return entry.CRC, entry.file_size
