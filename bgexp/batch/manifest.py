"""The manifest: one row per input, as Parquet and as a CSV that is safe to open."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from bgexp.batch.journal import Record
from bgexp.system.folders import Folder, open_folder
from bgexp.system.safe_csv import encode_safe_csv
from bgexp.system.stores import Address

PARQUET, CSV = "manifest.parquet", "manifest.csv"
_LISTS = ("quality_issues", "missing_metadata", "flags")
_NUMBERS = {"width": pa.int64(), "height": pa.int64(), "memory": pa.int64()} | dict.fromkeys(
    ("coverage", "confidence"), pa.float64()
)
_SCHEMA = pa.schema(
    [(field.name, _NUMBERS.get(field.name, pa.large_string())) for field in fields(Record)]
)
_GROUP = 2**13  # rows that are written, and held in memory, at once


def write_manifest(records: Iterable[Record], output: Folder) -> None:
    """Write both files, each whole or not at all, with as few rows in memory as a group has."""
    records = iter(records)
    with (
        output.open_whole(PARQUET) as parquet_file,
        output.open_whole(CSV) as csv_file,
        parquet.ParquetWriter(parquet_file, _SCHEMA) as writer,
    ):
        group = list(islice(records, _GROUP))
        is_first = True
        while group or is_first:
            rows = build_manifest(group)
            writer.write_table(pa.Table.from_pandas(rows, _SCHEMA, preserve_index=False))
            csv_file.write(encode_safe_csv(rows, header=is_first))
            group, is_first = list(islice(records, _GROUP)), False


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


def read_manifest(
    output: Folder | Path | Address, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read the manifest's rows, or some columns of them; raise OSError where there is none."""
    folder = open_folder(output) if isinstance(output, Path | Address) else output
    with folder.open(PARQUET) as file:
        return pd.read_parquet(file, columns=columns and list(columns))


def walk_names(output: Folder) -> Iterator[str]:
    """Yield the names of all results, masks and alphas that the manifest has."""
    with output.open(PARQUET) as opened, parquet.ParquetFile(opened) as file:
        names = [name for name in ("output", "mask", "alpha") if name in file.schema_arrow.names]
        for group in file.iter_batches(columns=names):
            for column in group.columns:
                yield from filter(None, column.to_pylist())
