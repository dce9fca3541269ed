"""Inspections to the table of an analysis, with missing fields, outliers and duplicates."""

import codecs
import io
import math
import warnings
from collections.abc import Iterable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from bgexp.config.analyze import Outliers, QualityChecks
from bgexp.errors import UserError
from bgexp.images.decode import FORMATS
from bgexp.images.metadata import FIELDS
from bgexp.quality.inspection import Inspection
from bgexp.quality.near_duplicates import find_near_duplicates
from bgexp.quality.outliers import find_outlier_reasons, find_outliers
from bgexp.system.progress import tell

_TEXTS = ("format", "mode", "icc")
_NUMBERS = ("bits", "frames", "orientation")
# What spreadsheets write at the beginning of their files, and between columns.
_MARKS = {
    codecs.BOM_UTF8: "UTF-8-SIG",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LOOKS = ("brightness", "contrast", "entropy", "sharpness")


def build_table(
    inspections: Sequence[Inspection], settings: QualityChecks, metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """Return one row per file, in their order; docs/quality.md tells what each column means."""
    rows = pd.DataFrame([_make_row(inspection) for inspection in inspections])
    rows = rows.join(_tabulate_fields(inspections, settings, metadata))
    rows["size_outlier"], rows["dimension_outlier"] = False, False
    rows["outlier_of"] = ""
    _mark_outliers(rows, settings.outliers)
    rows["exact_duplicate_of"] = _find_exact_duplicates(rows)
    rows["near_duplicate_of"] = _find_near_duplicates(rows, inspections, settings.max_hash_distance)
    return rows


def read_metadata_table(
    path: Path | None, files: Iterable[str], key: str = "metadata"
) -> pd.DataFrame | None:
    """Read a CSV with a `path` column: its other columns as text by path, missing cells NaN.

    Args:
        path: The CSV's path; None returns None.
        files: The dataset's paths, of which the CSV has to name some; taken only as needed.
        key: The setting that named it, for error messages.

    Raises:
        UserError: It cannot be read, has no such column, names a path twice, or is of other files.
    """
    if path is None:
        return None
    text, encoding, delimiter = _read_text(path, key)
    try:
        table = _parse_csv(text, delimiter)
    except ValueError as error:
        raise UserError(f"{key}: {path}: {' '.join(str(error).split())}") from error
    if (encoding, delimiter) != ("UTF-8", ","):
        tell(f"{key}: {path}: read as {_describe_form(encoding, delimiter)}")
    if "path" not in table:
        columns = ", ".join(map(str, table.columns[:20]))
        raise UserError(f"{key}: {path}: no column `path` (there are: {columns})")
    table["path"] = [str(name).replace("\\", "/").removeprefix("./") for name in table["path"]]
    repeated = table["path"][table["path"].duplicated()]
    if len(repeated):
        raise UserError(f"{key}: {path}: {len(repeated)} paths twice, {repeated.iloc[0]} first")
    _refuse_other_files(table["path"], files, f"{key}: {path}")
    return _empty_blank_cells(table.set_index("path"))


def _parse_csv(text: str, delimiter: str) -> pd.DataFrame:
    """Return the cells as text; a delimiter after the last cell of each line is no cell.

    Raises:
        ValueError: It is no CSV, or a line has cells that no column is there for.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", ParserWarning)
        try:
            return pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                dtype=str,
                skipinitialspace=True,
                index_col=False,  # or it were the first column where lines have a cell too many
            )
        except ParserWarning as error:
            raise ValueError("lines have more cells than the first line has columns") from error


def _empty_blank_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with NaN for blank cells, without columns of them that have no name."""
    # At once: a frame of many columns takes seconds where each is changed by itself.
    cells = table.to_numpy(object)
    is_text = np.array([[isinstance(c, str) and bool(c.strip()) for c in row] for row in cells])
    is_text = is_text.reshape(cells.shape)  # where there are no rows, too
    has_name = [not str(name).startswith("Unnamed: ") for name in table]
    kept = np.array(has_name, bool) | is_text.any(axis=0)
    values = np.where(is_text, cells, math.nan)[:, kept]
    return pd.DataFrame(values, table.index, table.columns[kept])


def describe_metadata_table(path: Path | None, key: str = "metadata") -> dict[str, dict[str, str]]:
    """Return the file's name and what it is read as, under "metadata" for a summary; {} for None.

    Raises:
        UserError: It cannot be read.
    """
    if path is None:
        return {}
    _, encoding, delimiter = _read_text(path, key)
    return {"metadata": {"file": str(path), "read_as": _describe_form(encoding, delimiter)}}


def _read_text(path: Path, key: str) -> tuple[str, str, str]:
    """Return a CSV's text with its encoding and delimiter."""
    try:
        text, encoding = _decode_text(path.read_bytes())
    except OSError as error:
        raise UserError(f"{key}: {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{key}: {path}: {' '.join(str(error).split())}") from error
    text, delimiter = _find_delimiter(text)
    return text, encoding, delimiter


def _describe_form(encoding: str, delimiter: str) -> str:
    return f"{encoding}, columns divided by {_DELIMITERS[delimiter]}"


def _refuse_other_files(paths: "pd.Series[str]", files: Iterable[str], place: str) -> None:
    """Refuse a table that names none of the files."""
    named, first = set(paths), ""
    for file in files:
        first = first or file
        if file in named:
            return
    example = f"it has {paths.iloc[0]!r}" if len(paths) else "it has no rows"
    raise UserError(f"{place}: none of its paths is here ({example}, here {first!r})")


def _decode_text(data: bytes) -> tuple[str, str]:
    """Return a spreadsheet's text and the encoding it was read in; ValueError where it is none."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding), encoding.removesuffix("-SIG")
    try:
        return data.decode(), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "Windows-1252"


def _find_delimiter(text: str) -> tuple[str, str]:
    """Return a CSV without a line that names its delimiter, and the delimiter of its columns."""
    first, _, rest = text.partition("\n")
    for delimiter in _DELIMITERS:
        if first.rstrip("\r").lower() == f"sep={delimiter}":  # Excel's
            return rest, delimiter
    cells = {d: [cell.strip().strip('"') for cell in first.split(d)] for d in _DELIMITERS}
    return text, next((d for d, names in cells.items() if "path" in names), ",")


def _make_row(inspection: Inspection) -> dict[str, Any]:
    metadata = inspection.header.metadata
    has_size = inspection.width > 0
    sides = sorted((inspection.width, inspection.height))
    return {
        "path": inspection.path,
        "category": inspection.category,
        "kind": inspection.header.kind,
        **{key: getattr(metadata, key) if metadata else "" for key in _TEXTS},
        "extension_agrees": inspection.header.extension_agrees,
        "bytes": inspection.size,
        "width": inspection.width,
        "height": inspection.height,
        "megapixels": inspection.width * inspection.height / 1e6,
        "aspect": inspection.width / inspection.height if has_size else math.nan,
        "elongation": sides[1] / sides[0] if has_size else math.nan,
        **{key: getattr(metadata, key) if metadata else 0 for key in _NUMBERS},
        "decodes": inspection.decodes,
        "corrupt": inspection.corrupt,
        "reason": inspection.reason,
        "sha256": inspection.sha256,
        **{key: inspection.looks.get(key, math.nan) for key in LOOKS},
        **{f"exif.{key}": metadata.fields.get(key, "") if metadata else "" for key in FIELDS},
    }


def _tabulate_fields(
    inspections: Sequence[Inspection], settings: QualityChecks, metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the columns of the metadata file, and which required fields are missing."""
    paths = [inspection.path for inspection in inspections]
    values = pd.DataFrame(index=paths) if metadata is None else metadata.reindex(paths)
    names, is_missing = list(map(str, values)), values.isna().to_numpy()
    missing = []
    for position, inspection in enumerate(inspections):
        lacking: list[str] = []
        if inspection.header.kind == "image":
            exif = inspection.header.metadata.fields if inspection.header.metadata else {}
            lacking += [name for name in settings.exif if not exif.get(name)]
            lacking += compress(names, is_missing[position])
        missing.append(lacking)
    lists = [",".join(lacking) for lacking in missing]
    counts = [len(lacking) for lacking in missing]
    table = values.add_prefix("metadata.").reset_index(drop=True)
    return table.assign(missing_fields=lists, n_missing=counts)


def _mark_outliers(rows: pd.DataFrame, settings: Outliers) -> None:
    """Mark outliers among the images that decode: damaged ones have no reliable size."""
    good = rows[rows["decodes"]]
    if good.empty:
        return
    sizes = find_outliers(good["bytes"].astype(float), good["category"], settings)
    sides = find_outlier_reasons(good, settings)
    rows.loc[good.index, "size_outlier"] = sizes
    rows.loc[good.index, "dimension_outlier"] = [bool(names) for names in sides]
    reasons = [
        ["bytes"] * bool(size) + list(names) for size, names in zip(sizes, sides, strict=True)
    ]
    rows.loc[good.index, "outlier_of"] = [",".join(names) for names in reasons]


def _find_exact_duplicates(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the first path with the same bytes; "" for the first, and without decoding.

    Files damaged in the same way, empty ones above all, are no duplicates of a picture.
    """
    hashed = rows[rows["decodes"]]
    first = hashed.groupby("sha256")["path"].transform("first")
    return first.where(first != hashed["path"], "").reindex(rows.index, fill_value="")


def _find_near_duplicates(
    rows: pd.DataFrame, inspections: Sequence[Inspection], bits: int
) -> list[str]:
    """Return the first path that looks the same; "" for none, and for exact duplicates."""
    distinct = rows["exact_duplicate_of"] == ""
    likenesses = [
        inspection.likeness if is_distinct else None
        for inspection, is_distinct in zip(inspections, distinct, strict=True)
    ]
    first = find_near_duplicates(likenesses, bits)
    return ["" if index is None else inspections[index].path for index in first]


def count_findings(rows: pd.DataFrame) -> dict[str, int]:
    """Return the counts for summary.json; images include the corrupt ones."""
    images = rows[rows["kind"] == "image"]
    return {
        "files": len(rows),
        "images": len(images),
        "categories": images["category"].nunique(),
        "corrupt": int(images["corrupt"].sum()),
        "wrong_extension": int((images["extension_agrees"].eq(False)).sum()),
        "missing_values": int(images["n_missing"].sum()),
        "size_outliers": int(images["size_outlier"].sum()),
        "dimension_outliers": int(images["dimension_outlier"].sum()),
        "exact_duplicates": int((images["exact_duplicate_of"] != "").sum()),
        "near_duplicates": int((images["near_duplicate_of"] != "").sum()),
    }


def count_formats(rows: pd.DataFrame) -> dict[str, int]:
    """Count the images of each format."""
    counts = rows[rows["format"] != ""]["format"].value_counts()
    return {name: int(counts[name]) for name in FORMATS if name in counts}


def summarize_categories(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return each category's images, what is wrong with them, and their median sizes."""
    images = rows[rows["kind"] == "image"]
    categories = {}
    for name, group in images.groupby("category"):
        good = group[group["decodes"]]
        categories[str(name)] = {
            "images": len(group),
            "corrupt": int(group["corrupt"].sum()),
            "missing_values": int(group["n_missing"].sum()),
            "size_outliers": int(group["size_outlier"].sum()),
            "dimension_outliers": int(group["dimension_outlier"].sum()),
            "duplicates": int(
                ((group["exact_duplicate_of"] != "") | (group["near_duplicate_of"] != "")).sum()
            ),
            "median_bytes": float(good["bytes"].median()),
            "median_megapixels": float(good["megapixels"].median()),
        }
    return categories
