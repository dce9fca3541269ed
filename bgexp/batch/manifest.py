"""The manifest: one row an input, as Parquet and as a CSV that is safe to open."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from bgexp.batch.journal import Record
from bgexp.system.atomic import write_whole
from bgexp.system.safe_csv import safe_csv

PARQUET, CSV = "manifest.parquet", "manifest.csv"
_LISTS = ("quality_issues", "missing_metadata", "flags")


def write_manifest(records: Sequence[Record], output: Path) -> None:
    """Writes both files, each whole or not at all."""
    table = manifest_table(records)
    write_whole(output / PARQUET, table.to_parquet(index=False))
    write_whole(output / CSV, safe_csv(table))


def manifest_table(records: Sequence[Record]) -> pd.DataFrame:
    """The records as columns; lists are joined by commas, timings are JSON."""
    columns = [one.name for one in fields(Record)]
    table = pd.DataFrame([[getattr(r, name) for name in columns] for r in records], columns=columns)
    for name in _LISTS:
        table[name] = table[name].map(",".join)
    rounded = [
        json.dumps({stage: round(ms, 2) for stage, ms in times.items()})
        for times in table["timings_ms"]
    ]
    table["timings_ms"] = rounded
    table["coverage"] = table["coverage"].astype(float)
    table["confidence"] = table["confidence"].astype(float)
    return table
