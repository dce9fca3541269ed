"""The rows of a batch by its three records: the journals, manifest.parquet and manifest.csv."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from io import StringIO, TextIOWrapper
from itertools import zip_longest

import pandas as pd
from pyarrow import parquet

from bgexp.batch.journal import Record
from bgexp.batch.manifest import CSV, PARQUET, build_manifest
from bgexp.system.folders import Folder
from bgexp.system.safe_csv import encode_safe_csv
from bgexp.verify.verification import Damage

_GROUP = 2**13  # rows that are held in memory at once
_LINE = 2**20  # characters
_KNOWN = tuple(field.name for field in fields(Record))
_PATH = _KNOWN.index("path")

Cells = Sequence[str]


def list_columns(output: Folder) -> list[str]:
    """Return the columns of the manifest that this version of bgexp knows.

    Raises:
        OSError: There is no manifest.
        ValueError: It is damaged, or lacks its first column.
    """
    with output.open(PARQUET) as opened, parquet.ParquetFile(opened) as file:
        names = [name for name in file.schema_arrow.names if name in _KNOWN]
    if names[:1] != ["path"]:
        raise ValueError("it has no column `path`")
    return names


def walk_manifest(output: Folder, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of manifest.parquet in groups."""
    with output.open(PARQUET) as opened, parquet.ParquetFile(opened) as file:
        for group in file.iter_batches(_GROUP, columns=list(columns)):
            yield group.to_pandas()[list(columns)]


def tabulate(parts: Iterable[Sequence[Record]], columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows as the manifest would have them."""
    for records in parts:
        yield build_manifest(records)[list(columns)]


def compare_parquet(
    tables: Callable[[], Iterator[pd.DataFrame]], output: Folder, columns: Sequence[str]
) -> list[Damage]:
    """Return how manifest.parquet differs from the rows of these tables."""
    try:
        return _compare(
            lambda: _walk_cells(tables()),
            lambda: _walk_cells(walk_manifest(output, columns)),
            PARQUET,
            columns,
        )
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        return [_describe(PARQUET, error)]


def compare_csv(
    tables: Callable[[], Iterator[pd.DataFrame]], output: Folder, columns: Sequence[str]
) -> list[Damage]:
    """Return how manifest.csv differs from the rows of these tables."""
    digest = hashlib.sha256(encode_safe_csv(pd.DataFrame(columns=list(columns))))
    for table in tables():
        digest.update(encode_safe_csv(table, header=False))
    if output.hash(CSV) == digest.hexdigest():
        return []
    try:
        damage = _compare(
            lambda: _walk_cells(tables()), lambda: _walk_csv(output, columns), CSV, columns
        )
    except (OSError, ValueError, csv.Error) as error:
        return [_describe(CSV, error)]
    # A manifest of a later version has columns that are not known here.
    has_all = len(_read_header(output)) == len(columns)
    return damage or ([Damage(CSV, "was changed")] if has_all else [])


def _describe(name: str, error: Exception) -> Damage:
    if isinstance(error, FileNotFoundError):
        return Damage(name, "is missing")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Damage(name, f"cannot be read: {' '.join(reason.split())[:200]}")


def _walk_cells(tables: Iterable[pd.DataFrame]) -> Iterator[Cells]:
    for table in tables:
        yield from csv.reader(StringIO(encode_safe_csv(table, header=False).decode(), newline=""))


def _walk_csv(output: Folder, columns: Sequence[str]) -> Iterator[Cells]:
    with output.open(CSV) as file, TextIOWrapper(file, "utf-8", newline="") as text:
        rows = csv.reader(_walk_lines(text))
        header = next(rows, [])
        if missing := [name for name in columns if name not in header]:
            raise ValueError(f"it has no column {missing[0]}")
        places = [header.index(name) for name in columns]
        for cells in rows:
            yield [cells[place] if place < len(cells) else "" for place in places]


def _read_header(output: Folder) -> Cells:
    with output.open(CSV) as file, TextIOWrapper(file, "utf-8", newline="") as text:
        return next(csv.reader(_walk_lines(text)), [])


def _walk_lines(text: TextIOWrapper) -> Iterator[str]:
    """Yield the lines; one that is longer than any row, of a file without breaks, in pieces."""
    return iter(lambda: text.readline(_LINE), "")


def _compare(
    recorded: Callable[[], Iterator[Cells]],
    actual: Callable[[], Iterator[Cells]],
    name: str,
    columns: Sequence[str],
) -> list[Damage]:
    """Return how the rows of a file differ from those recorded; whole ones take no memory."""
    if all(a == b for a, b in zip_longest(recorded(), actual())):
        return []
    rows = {cells[_PATH]: cells for cells in recorded()}
    damage, seen = [], set()
    for cells in actual():
        path = cells[_PATH]
        if path not in rows:
            damage.append(Damage(name, f"has a row of no file of the batch: {path}"))
        elif path in seen:
            damage.append(Damage(name, "has this row twice", path))
        elif cells != rows[path]:
            changed = [c for c, a, b in zip(columns, cells, rows[path], strict=True) if a != b]
            damage.append(Damage(name, f"its row was changed: {', '.join(changed)}", path))
        seen.add(path)
    damage += [Damage(name, "lacks this row", path) for path in rows if path not in seen]
    return damage or [Damage(name, "its rows are in another order")]
