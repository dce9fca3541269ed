"""The manifest: one row per input, as Parquet and as a CSV that is safe to open."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from bgexp.batch.journal import Record
from bgexp.system.atomic import write_whole
from bgexp.system.safe_csv import encode_safe_csv

PARQUET, CSV = "manifest.parquet", "manifest.csv"
_LISTS = ("quality_issues", "missing_metadata", "flags")


def write_manifest(records: Sequence[Record], output: Path) -> None:
    """Write both files, each whole or not at all."""
    table = build_manifest(records)
    write_whole(output / PARQUET, table.to_parquet(index=False))
    write_whole(output / CSV, encode_safe_csv(table))


def build_manifest(records: Sequence[Record]) -> pd.DataFrame:
    """Return the records as columns; lists are joined by commas, timings are JSON."""
    columns = [field.name for field in fields(Record)]
    table = pd.DataFrame(
        [[getattr(record, name) for name in columns] for record in records], columns=columns
    )
    for name in _LISTS:
        table[name] = table[name].map(",".join)
    timings = [
        json.dumps({stage: round(ms, 2) for stage, ms in milliseconds.items()})
        for milliseconds in table["timings_ms"]
    ]
    table["timings_ms"] = timings
    table["coverage"] = table["coverage"].astype(float)
    table["confidence"] = table["confidence"].astype(float)
    return table
