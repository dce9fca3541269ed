"""The folder of a run: what its files are called, and how each of them is written and read.

The artifacts of a run that are fetched from the tracking store have the same layout.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bgexp.config.base import Section
from bgexp.config.check import check_settings
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.system.atomic import write_json, write_whole
from bgexp.tracking.mask_archive import MaskArchive
from bgexp.tracking.store import get_first_line

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

    def read_summary(self) -> dict[str, Any]:
        """Read the summary; {} where there is none."""
        return dict(json.loads(self._read(SUMMARY))) if self.has(SUMMARY) else {}

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary as strict JSON; undefined numbers are null."""
        write_json(self.path / SUMMARY, dict(summary))

    def read_overrides(self) -> list[str]:
        """Read each `key=value` that was given on the command line; none where it left none."""
        return list(json.loads(self._read(OVERRIDES))) if self.has(OVERRIDES) else []

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Write the overrides of the command line."""
        write_json(self.path / OVERRIDES, list(overrides))

    def read_config(self) -> dict[str, Any]:
        """Read the settings as they were written, of any version; {} where there are none."""
        return dict(yaml.safe_load(self._read(CONFIG)) or {}) if self.has(CONFIG) else {}

    def read_settings(self) -> RunSettings:
        """Read the settings of a run, checked.

        Raises:
            UserError: It left none, or some that this version of bgexp does not know.
        """
        if not self.has(CONFIG):
            raise UserError(f"its {CONFIG} is gone ({self.path})")
        try:
            return check_settings(RunSettings, yaml.safe_load(self._read(CONFIG)))
        except (UserError, yaml.YAMLError) as error:
            raise UserError(f"{CONFIG}: {get_first_line(error)}") from error

    def write_settings(self, settings: Section) -> None:
        """Write the settings of a run of any command."""
        self._write(CONFIG, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))

    def read_rows(self) -> pd.DataFrame:
        """Read the rows, the columns of `ImageResult.to_columns`; empty where there are none."""
        return pd.read_parquet(self.path / ROWS) if self.has(ROWS) else pd.DataFrame()

    def write_rows(self, rows: pd.DataFrame) -> None:
        """Write a row an image."""
        write_whole(self.path / ROWS, rows.to_parquet(index=False))

    def open_masks(self) -> MaskArchive:
        """Open the masks for reading."""
        return self.open_archive(MASKS)

    def open_archive(self, name: str) -> MaskArchive:
        """Open MASKS or ALPHAS for reading."""
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

    def _read(self, name: str) -> str:
        return (self.path / name).read_text()

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text.encode())


@contextmanager
def open_masks(folders: Iterable[RunFolder]) -> Iterator[list[MaskArchive]]:
    """Open the masks of several runs, in their order."""
    with ExitStack() as stack:
        yield [stack.enter_context(folder.open_masks()) for folder in folders]
