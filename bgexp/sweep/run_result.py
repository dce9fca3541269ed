"""A run beside others: a job of a sweep, or one that is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run as pages and tables show it: a job of a sweep, or a run that is compared.

    Attributes:
        name: Its name on the page; unique there.
        overrides: Each `key=value`.
        summary: Its summary.json; only `status` and `error` where the run broke.
        rows: The table per_image.parquet, as `ImageResult.to_columns`; empty where it is missing.
        link: To its report, relative to the sweep's folder.
    """

    name: str
    overrides: Sequence[str]
    summary: Mapping[str, Any]
    rows: pd.DataFrame
    link: str = ""
