"""The masks of a run in one zip file: a PNG an image, named as the image with .png appended."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import ImageError, decode_mask
from bgexp.system.atomic import open_whole
from bgexp.system.state_files import open_regular
from bgexp.system.zip_members import read_member

_MAX_BYTES = 2**30  # of one mask, as a PNG


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
        open_regular(path).close()  # a pipe would be waited for
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
            ImageError: There is none, or it cannot be decoded.
        """
        return decode_mask(self.read_png(path))

    def read_png(self, path: str) -> bytes:
        """Read the mask file of an image by the image's path.

        Raises:
            ImageError: There is none, or it is damaged.
        """
        try:
            return read_member(self._file, f"{path}.png", _MAX_BYTES)
        except (KeyError, ValueError) as error:
            raise ImageError(str(error.args[0])) from error

    def __contains__(self, name: object) -> bool:
        return name in self._file.NameToInfo

    def list_names(self) -> list[str]:
        """Return the names of the files in it."""
        return self._file.namelist()

    def read_fingerprint(self, path: str) -> tuple[int, int]:
        """Return the checksum and size of an image's mask file: equal ones are equal masks.

        Raises:
            ImageError: There is none.
        """
        try:
            entry = self._file.getinfo(f"{path}.png")
        except KeyError as error:
            raise ImageError(str(error.args[0])) from error
        return entry.CRC, entry.file_size
