"""The folder of a run: what its files are called, and how each of them is written and read.

The artifacts of a run that are fetched from the tracking store have the same layout.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import TypeAdapter

from bgexp.config.base import Section
from bgexp.config.check import check_settings
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from bgexp.system.atomic import write_json, write_whole
from bgexp.system.hashing import hash_bytes
from bgexp.system.state_files import decode_json, open_regular, read_state
from bgexp.tracking.mask_archive import MaskArchive
from bgexp.tracking.store import get_first_line
from bgexp.tracking.summary import check_summary

SUMMARY = "summary.json"  # written last: where it is, all else is
CONFIG = "config.yaml"
OVERRIDES = "overrides.json"  # only in a run's of its own or a job's
ROWS = "per_image.parquet"
MASKS = "masks.zip"
ALPHAS = "alpha.zip"  # as masks.zip, in 256 levels; only where the edge is soft
SAMPLES = "samples"
PAGE = "report.html"
LOG = "log.txt"  # written by Hydra, as conf/hydra_runs.yaml says
ERROR = "error.txt"  # only where bgexp itself broke: the place in the code
SHARED = "sweep.json"  # in a sweep's folder: what its jobs, in other processes too, have to know
HASHES = {MASKS: "mask_sha256", ALPHAS: "alpha_sha256"}  # the rows' columns of the files in them
MAX_CONFIG = 2**20  # bytes of settings; reading as many takes seconds
# The columns of texts, the first of them in each version; all others are of numbers.
_ALWAYS = {"path", "category", "sha256", "status"}
_TEXTS = _ALWAYS | {"reason", "refined", "fallback", "mask_sha256", "alpha_sha256"}
_OVERRIDES = TypeAdapter(list[str])
_CONFIG = TypeAdapter(dict[str, Any])


@dataclass(frozen=True)
class RunFolder:
    """The files of a run in one folder, which is made when the first of them is written."""

    path: Path

    @property
    def page(self) -> Path:
        """The path of the page."""
        return self.path / PAGE

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.path / name).exists()

    def refuse_obstacles(self) -> None:
        """Check that nothing stands where the folder and its files will be.

        Raises:
            UserError: A file in the place of the folder, or a folder in that of a file.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path}: it is a file, in the place of a run's folder")
        for name in (LOG, CONFIG, OVERRIDES, ROWS, MASKS, ALPHAS, SAMPLES, PAGE, ERROR, SUMMARY):
            path = self.path / name
            if path.exists() and path.is_dir() != (name == SAMPLES):
                kind, place = ("folder", "file") if path.is_dir() else ("file", "folder")
                raise UserError(f"{path}: it is a {kind}, in the place of a {place} of a run")

    def has_whole_results(self) -> bool:
        """Return whether summary, rows, masks and alphas are there as they were recorded."""
        try:
            summary = self.read_summary()
            if not summary or self.hash_files().get(ROWS) != summary["files"][ROWS]:
                return False
            rows = self.read_rows()
            for name, column in HASHES.items():
                recorded = rows[rows[column] != ""]
                if name == ALPHAS and recorded.empty and not self.has(name):
                    continue
                with self.open_archive(name) as archive:
                    for path, sha256 in zip(recorded["path"], recorded[column], strict=True):
                        if hash_bytes(archive.read_png(path)) != sha256:
                            return False
        except (UserError, ImageError, KeyError):  # the last of rows, or a summary, without hashes
            return False
        return True

    def read_summary(self) -> dict[str, Any]:
        """Read the summary; {} where there is none.

        Raises:
            UserError: It is damaged.
        """
        if not self.has(SUMMARY):
            return {}
        with self._explain_damage(SUMMARY):
            return check_summary(decode_json(read_state(self.path / SUMMARY)))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary as strict JSON, and in it the hashes; undefined numbers are null."""
        write_json(self.path / SUMMARY, {**summary, "files": self.hash_files()})

    def hash_files(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name; not of masks and alphas, whose rows have it.

        What cannot be read has none.
        """
        samples = sorted(f"{SAMPLES}/{path.name}" for path in (self.path / SAMPLES).glob("*"))
        hashes = {}
        for name in (CONFIG, OVERRIDES, ROWS, PAGE, *samples):
            with suppress(OSError), open_regular(self.path / name) as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return hashes

    def read_overrides(self) -> list[str]:
        """Read each `key=value` that was given on the command line; none where it left none.

        Raises:
            UserError: They are damaged.
        """
        if not self.has(OVERRIDES):
            return []
        with self._explain_damage(OVERRIDES):
            return _OVERRIDES.validate_python(decode_json(read_state(self.path / OVERRIDES)))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Write the overrides of the command line."""
        write_json(self.path / OVERRIDES, list(overrides))

    def read_config(self) -> dict[str, Any]:
        """Read the settings as they were written, of any version; {} where there are none.

        Raises:
            UserError: They are damaged.
        """
        if not self.has(CONFIG):
            return {}
        with self._explain_damage(CONFIG):
            return _decode_yaml(read_state(self.path / CONFIG, MAX_CONFIG))

    def read_settings(self) -> RunSettings:
        """Read the settings of a run, checked.

        Raises:
            UserError: It left none, or some that this version of bgexp does not know.
        """
        if not self.has(CONFIG):
            raise UserError(f"its {CONFIG} is gone ({self.path})")
        config = self.read_config()
        try:
            return check_settings(RunSettings, config)
        except UserError as error:
            raise UserError(f"{CONFIG}: {get_first_line(error)}") from error

    def write_settings(self, settings: Section) -> None:
        """Write the settings of a run of any command."""
        self._write(CONFIG, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))

    def read_rows(self) -> pd.DataFrame:
        """Read the rows, the columns of `ImageResult.to_columns`; empty where there are none.

        Raises:
            UserError: They are damaged.
        """
        if not self.has(ROWS):
            return pd.DataFrame()
        with self._explain_damage(ROWS), open_regular(self.path / ROWS) as file:
            return _check_rows(pd.read_parquet(file))

    def write_rows(self, rows: pd.DataFrame) -> None:
        """Write a row an image."""
        write_whole(self.path / ROWS, rows.to_parquet(index=False))

    def open_masks(self) -> MaskArchive:
        """Open the masks for reading."""
        return self.open_archive(MASKS)

    def open_archive(self, name: str) -> MaskArchive:
        """Open MASKS or ALPHAS for reading.

        Raises:
            UserError: They are gone or damaged.
        """
        with self._explain_damage(name):
            return MaskArchive.open(self.path / name)

    def create_masks(self) -> AbstractContextManager[MaskArchive]:
        """Open the masks for writing; they are there once all of them are written."""
        return MaskArchive.create(self.path / MASKS)

    def create_alphas(self) -> AbstractContextManager[MaskArchive]:
        """Open the alphas for writing; they are there once all of them are written."""
        return MaskArchive.create(self.path / ALPHAS)

    def write_sample(self, name: str, png: bytes) -> None:
        """Write a sample picture."""
        write_whole(self.path / SAMPLES / name, png)

    def write_page(self, html: bytes) -> None:
        """Write the page."""
        write_whole(self.page, html)

    def write_error(self, trace: str) -> None:
        """Write where in the code the run broke."""
        write_whole(self.path / ERROR, trace.encode(errors="replace"))

    @contextmanager
    def _explain_damage(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or get_first_line(error)
            raise UserError(f"{self.path / name}: {reason}") from error
        except Exception as error:  # damaged bytes raise nearly every type
            raise UserError(f"{self.path / name} is damaged: {get_first_line(error)}") from error

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text.encode())


class _Loader(yaml.SafeLoader):
    """A loader of YAML in which no alias stands for what stands elsewhere: a few could for all."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, of which settings have none")
        return super().compose_node(parent, index)


def _decode_yaml(data: bytes) -> dict[str, Any]:
    loader = _Loader(data)
    try:
        return _CONFIG.validate_python(loader.get_single_data() or {})
    finally:
        loader.dispose()


def _check_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, or raise ValueError where a column is missing or of another kind."""
    if missing := _ALWAYS - set(rows):
        raise ValueError(f"it has no column {min(missing)}")
    for name in rows if len(rows) else ():
        if name in _TEXTS and not all(isinstance(value, str) for value in rows[name]):
            raise ValueError(f"its column {name} holds not only texts")
        if name not in _TEXTS and not pd.api.types.is_numeric_dtype(rows[name]):
            raise ValueError(f"its column {name} holds not only numbers")
    return rows


@contextmanager
def open_masks(folders: Iterable[RunFolder]) -> Iterator[list[MaskArchive]]:
    """Open the masks of several runs, in their order.

    Raises:
        UserError: They are gone or damaged, or a mask that is read meanwhile is.
    """
    try:
        with ExitStack() as stack:
            yield [stack.enter_context(folder.open_masks()) for folder in folders]
    except ImageError as error:
        raise UserError(f"a mask cannot be read: {error}") from error
