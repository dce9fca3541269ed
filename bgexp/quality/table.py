"""Inspections to the table of an analysis: a row a file, its missing fields, outliers, doubles."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bgexp.config.analyze import Outliers, QualityChecks
from bgexp.errors import UserError
from bgexp.images.decode import FORMATS
from bgexp.images.metadata import FIELDS
from bgexp.quality.inspection import Inspection
from bgexp.quality.near_duplicates import near_duplicates
from bgexp.quality.outliers import find_outliers, outlier_reasons

_TEXTS = ("format", "mode", "icc")
_NUMBERS = ("bits", "frames", "orientation")
LOOKS = ("brightness", "contrast", "entropy", "sharpness")


def quality_table(
    found: Sequence[Inspection], settings: QualityChecks, metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """A row a file, in the order of `found`; docs/quality.md tells what each column means."""
    rows = pd.DataFrame([_row(one) for one in found])
    rows = rows.join(_fields(found, settings, metadata))
    rows["size_outlier"], rows["dimension_outlier"] = False, False
    rows["outlier_of"] = ""
    _mark_outliers(rows, settings.outliers)
    rows["exact_duplicate_of"] = _exact_duplicates(rows)
    rows["near_duplicate_of"] = _near_duplicates(rows, found, settings.max_hash_distance)
    return rows


def read_metadata_table(
    path: Path | None, files: Sequence[str], key: str = "metadata"
) -> pd.DataFrame | None:
    """A CSV with a `path` column: the other columns as text by path, missing cells as NaN.

    Args:
        path: Of the CSV; None gives None.
        files: Paths of the dataset, of which some have to be in it.
        key: The setting that named it, for what is said about it.

    Raises:
        UserError: It cannot be read, has no such column, names a path twice, or is of other files.
    """
    if path is None:
        return None
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {path}: {' '.join(str(error).split())}") from error
    if "path" not in table:
        columns = ", ".join(map(str, table.columns[:20]))
        raise UserError(f"{key}: {path}: no column `path` (there are: {columns})")
    table["path"] = [str(name).replace("\\", "/").removeprefix("./") for name in table["path"]]
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise UserError(f"{key}: {path}: {len(twice)} paths twice, {twice.iloc[0]} first")
    if not table["path"].isin(files).any():
        example = f"it has {table['path'].iloc[0]!r}" if len(table) else "it has no rows"
        raise UserError(f"{key}: {path}: none of its paths is here ({example}, here {files[0]!r})")
    blank = table.map(lambda cell: isinstance(cell, str) and not cell.strip())
    return table.mask(blank).set_index("path")


def _row(one: Inspection) -> dict[str, Any]:
    said = one.header.metadata
    known = one.width > 0
    sides = sorted((one.width, one.height))
    return {
        "path": one.path,
        "category": one.category,
        "kind": one.header.kind,
        **{key: getattr(said, key) if said else "" for key in _TEXTS},
        "extension_agrees": one.header.extension_agrees,
        "bytes": one.size,
        "width": one.width,
        "height": one.height,
        "megapixels": one.width * one.height / 1e6,
        "aspect": one.width / one.height if known else math.nan,
        "elongation": sides[1] / sides[0] if known else math.nan,
        **{key: getattr(said, key) if said else 0 for key in _NUMBERS},
        "decodes": one.decodes,
        "corrupt": one.corrupt,
        "reason": one.reason,
        "sha256": one.sha256,
        **{key: one.looks.get(key, math.nan) for key in LOOKS},
        **{f"exif.{key}": said.fields.get(key, "") if said else "" for key in FIELDS},
    }


def _fields(
    found: Sequence[Inspection], settings: QualityChecks, metadata: pd.DataFrame | None
) -> pd.DataFrame:
    """The columns of the metadata file, and which of the fields asked for are missing."""
    columns = {} if metadata is None else {str(name): metadata[name] for name in metadata}
    values = {name: [column.get(one.path) for one in found] for name, column in columns.items()}
    missing = []
    for number, one in enumerate(found):
        names: list[str] = []
        if one.header.kind == "image":
            said = one.header.metadata.fields if one.header.metadata else {}
            names += [name for name in settings.exif if not said.get(name)]
            names += [name for name in values if not isinstance(values[name][number], str)]
        missing.append(names)
    table = pd.DataFrame({f"metadata.{name}": column for name, column in values.items()})
    table["missing_fields"] = [",".join(names) for names in missing]
    table["n_missing"] = [len(names) for names in missing]
    return table


def _mark_outliers(rows: pd.DataFrame, settings: Outliers) -> None:
    """Among the images that decode: one that is damaged tells nothing of sizes."""
    good = rows[rows["decodes"]]
    if good.empty:
        return
    sizes = find_outliers(good["bytes"].astype(float), good["category"], settings)
    sides = outlier_reasons(good, settings)
    rows.loc[good.index, "size_outlier"] = sizes
    rows.loc[good.index, "dimension_outlier"] = [bool(names) for names in sides]
    told = [["bytes"] * bool(size) + list(names) for size, names in zip(sizes, sides, strict=True)]
    rows.loc[good.index, "outlier_of"] = [",".join(names) for names in told]


def _exact_duplicates(rows: pd.DataFrame) -> "pd.Series[str]":
    """The first path with the same bytes; "" for the first itself, and for what does not decode.

    Files that are damaged in the same way, empty ones above all, are no doubles of a picture.
    """
    hashed = rows[rows["decodes"]]
    first = hashed.groupby("sha256")["path"].transform("first")
    return first.where(first != hashed["path"], "").reindex(rows.index, fill_value="")


def _near_duplicates(rows: pd.DataFrame, found: Sequence[Inspection], bits: int) -> list[str]:
    """The first path that looks the same; "" where there is none or where its bytes are equal."""
    distinct = rows["exact_duplicate_of"] == ""
    seen = [one.likeness if new else None for one, new in zip(found, distinct, strict=True)]
    first = near_duplicates(seen, bits)
    return ["" if number is None else found[number].path for number in first]


def findings(rows: pd.DataFrame) -> dict[str, int]:
    """The counts that summary.json holds; images include the corrupt ones."""
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


def formats(rows: pd.DataFrame) -> dict[str, int]:
    """How many images are of each format."""
    counts = rows[rows["format"] != ""]["format"].value_counts()
    return {name: int(counts[name]) for name in FORMATS if name in counts}


def by_category(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Each category's images, what is wrong with them, and the medians of their sizes."""
    images = rows[rows["kind"] == "image"]
    found = {}
    for name, group in images.groupby("category"):
        good = group[group["decodes"]]
        found[str(name)] = {
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
    return found
