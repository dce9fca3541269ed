"""The page of an analysis."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bgexp.quality.findings import find_quality_findings
from bgexp.quality.size_chart import plot_sizes
from bgexp.report import overview
from bgexp.report.labels import list_settings
from bgexp.report.render import (
    Cell,
    Table,
    find_anchors,
    format_number,
    list_sections,
    make_number_cell,
    render_page,
)
from bgexp.report.tables import Card
from bgexp.report.wording import format_count

ALL = "quality.parquet"
MOST_FILES = 300  # in the table of files with something wrong
MOST_THUMBNAILS = 48
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, eq=False)
class SizeDistribution:
    """A size of the images, in which outliers are looked for.

    Attributes:
        name: Such as "bytes".
        unit: The values' unit.
        values: (N,) float64.
        low, high: The bounds beyond which a value is an outlier.
        median: The values' median.
    """

    name: str
    unit: str
    values: NDArray[np.float64]
    low: float
    high: float
    median: float


@dataclass(frozen=True)
class Thumbnail:
    """A small picture and why it is shown."""

    path: str
    source: str
    note: str
    anchor: str


def render_quality(  # noqa: PLR0913  # what a page shows
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: pd.DataFrame,
    thumbnails: Mapping[str, bytes],
    sizes: Sequence[SizeDistribution],
    when: datetime | None = None,
    links: Mapping[str, str] = _NOTHING,
) -> bytes:
    """Return the page of an analysis, one HTML file that needs nothing outside it.

    Args:
        summary: The content of summary.json.
        settings: The analysis's settings as nested dicts.
        rows: The columns of quality.parquet.
        thumbnails: JPEG by path, of the images that decode.
        sizes: The sizes that are drawn with their bounds.
        when: When the analysis began.
        links: Addresses of files beside the page, by name.
    """
    wrong = list_wrong_files(rows)
    findings = find_quality_findings(rows, summary)
    pictures = _choose_thumbnails(wrong, rows, thumbnails)
    anchors = {picture.path: picture.anchor for picture in pictures}
    anchors |= {path: f"file-{n}" for n, path in enumerate(wrong["path"][:MOST_FILES])}
    images = rows[rows["kind"] == "image"]
    good = images[images["decodes"]]
    content: dict[str, Any] = {
        "cards": _build_cards(summary, rows),
        "reconciliation": _tabulate_figures(summary),
        "thumbnails": pictures,
        "measured": [
            plot_sizes(size.name, size.values, size.low, size.high, size.unit) for size in sizes
        ],
        "matrix": _tabulate_missing(images),
        "exif": _tabulate_exif(images),
        "looks": [
            plot_sizes(name, good[name].to_numpy(float), float("nan"), float("nan"))
            for name in ("brightness", "contrast", "sharpness")
        ],
        "wrong": _tabulate_wrong(wrong),
        "formats": _tabulate_formats(images),
        "categories": _tabulate_categories(summary),
    }
    return render_page(
        "quality.html",
        kind="bgexp analyze",
        title=f"{format_count(summary['findings']['images'], 'image')} in "
        f"{summary['dataset']['root']}",
        banners=[],
        facts=_build_facts(summary, settings, when),
        places=_list_places(content),
        findings=findings,
        anchors=find_anchors(anchors, findings),
        settings=list(list_settings(settings)),
        links=links,
        footer=overview.format_footer(summary),
        tracked=overview.format_run_address(summary.get("run_id"), settings),
        **content,
    )


def list_wrong_files(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the flawed files, those with most flaws first; column `wrong` lists the flaws."""
    flaws = [", ".join(_describe_flaws(row)) for row in rows.itertuples()]
    flawed = rows.assign(wrong=flaws)[[bool(text) for text in flaws]]
    weight = flawed["corrupt"] * 100 + flawed["wrong"].str.count(",")
    return flawed.loc[weight.sort_values(ascending=False, kind="stable").index]


def _describe_flaws(row: Any) -> list[str]:  # noqa: ANN401
    if row.kind != "image":
        return [row.reason] if row.kind == "other" else []
    flaws = [row.reason] if row.reason else []
    if row.extension_agrees is False:
        flaws.append(f"is a {row.format}")
    if row.outlier_of:
        flaws.append(f"outlier of {row.outlier_of.replace(',', ' and ')}")
    if row.exact_duplicate_of:
        flaws.append(f"same bytes as {row.exact_duplicate_of}")
    if row.near_duplicate_of:
        flaws.append(f"looks like {row.near_duplicate_of}")
    if row.n_missing:
        flaws.append(f"lacks {row.missing_fields.replace(',', ' and ')}")
    return flaws


def _build_cards(summary: Mapping[str, Any], rows: pd.DataFrame) -> list[Card]:
    counts = summary["findings"]
    other_files = len(rows) - counts["images"]
    gigabytes = rows["bytes"].sum() / 1e9
    missing = ", ".join(f"{name} {count:,}" for name, count in list(summary["missing"].items())[:3])
    return [
        Card("Images", f"{counts['images']:,}", [f"{other_files:,} other files"]),
        Card("Categories", f"{counts['categories']:,}", [f"{format_number(gigabytes, 2)} GB"]),
        Card("Corrupt", f"{counts['corrupt']:,}", ["do not decode in full"]),
        Card("Missing values", f"{counts['missing_values']:,}", [missing or "none asked for"]),
        Card("Size outliers", f"{counts['size_outliers']:,}", ["by the bytes of the file"]),
        Card("Dimension outliers", f"{counts['dimension_outliers']:,}", ["sides and aspect"]),
        Card(
            "Duplicates",
            f"{counts['exact_duplicates']:,}",
            [f"and {counts['near_duplicates']:,} that look the same"],
        ),
    ]


def _build_facts(
    summary: Mapping[str, Any], settings: Mapping[str, Any], when: datetime | None
) -> list[overview.Fact]:
    rule = settings["outliers"]
    method = f"{rule['method']} x {rule['limit']:g}"
    return [
        overview.Fact("Status", str(summary["status"]), tone="good"),
        *overview.describe_start(when),
        *overview.describe_metadata(summary),
        overview.Fact("Outliers", method, f"of the logarithms, {rule['by']}"),
        overview.Fact(
            "Speed",
            f"{format_number(summary['images_per_s'], 1)} files/s",
            f"{summary['seconds']:.0f} s",
        ),
    ]


def _tabulate_figures(summary: Mapping[str, Any]) -> Table | None:
    cells = [
        [
            Cell(row["name"].replace("_", " ")),
            make_number_cell(float(row["expected"]), 0),
            make_number_cell(float(row["found"]), 0),
            Cell("yes" if row["expected"] == row["found"] else "no", strong=True),
            Cell(row["explanation"]),
        ]
        for row in summary["reconciliation"]
    ]
    columns = ("figure", "expected", "found", "equal", "explanation")
    return Table("Expected and found", columns, cells) if cells else None


def _choose_thumbnails(
    wrong: pd.DataFrame, rows: pd.DataFrame, thumbnails: Mapping[str, bytes]
) -> list[Thumbnail]:
    """Choose flawed images whose flaw can be seen, then evenly from all images."""
    visible = wrong[wrong["decodes"] & (wrong["wrong"].str.count("lacks") == 0)]
    paths = [path for path in visible["path"] if path in thumbnails][: MOST_THUMBNAILS // 2]
    notes = dict(zip(wrong["path"], wrong["wrong"], strict=True))
    others = [path for path in rows["path"] if path in thumbnails and path not in set(paths)]
    count = min(len(others), MOST_THUMBNAILS - len(paths))
    positions = np.linspace(0, max(0, len(others) - 1), count).round().astype(int)
    chosen_paths = [*paths, *(others[position] for position in positions)]
    return [
        Thumbnail(
            path,
            f"data:image/jpeg;base64,{base64.b64encode(thumbnails[path]).decode()}",
            notes.get(path, ""),
            f"image-{index}",
        )
        for index, path in enumerate(chosen_paths)
    ]


def _tabulate_missing(images: pd.DataFrame) -> Table | None:
    """Tabulate which fields lack values, and in which combinations."""
    groups = images[images["n_missing"] > 0].groupby("missing_fields").size()
    if groups.empty:
        return None
    groups = groups.sort_values(ascending=False)
    counts = images["missing_fields"].str.split(",").explode()
    names = [name for name in counts[counts != ""].value_counts().index]
    cells = [
        [
            make_number_cell(float(count), 0),
            Cell(f"{count / len(images):.1%}", count / len(images)),
            *(Cell("missing" if name in str(key).split(",") else "·") for name in names),
        ]
        for key, count in groups.items()
    ]
    return Table("Missing values by combination", ("images", "share", *names), cells, ALL)


def _tabulate_exif(images: pd.DataFrame) -> Table | None:
    """Tabulate how many images have a value in each field of EXIF, required or not."""
    cells = []
    for column in (name for name in images if str(name).startswith("exif.")):
        count = int((images[column] != "").sum())
        share = count / max(1, len(images))
        values = images[column][images[column] != ""].value_counts()
        example = str(values.index[0]) if len(values) else ""
        cells.append(
            [
                Cell(str(column).removeprefix("exif.")),
                make_number_cell(float(count), 0),
                Cell(f"{share:.1%}", share),
                Cell(example),
            ]
        )
    return Table("What EXIF says", ("field", "images", "share", "most often"), cells)


def _tabulate_wrong(wrong: pd.DataFrame) -> Table | None:
    cells = [
        [
            Cell(row.path, anchor=f"file-{position}"),
            Cell(row.wrong),
            make_number_cell(float(row.bytes), 0),
            Cell(f"{row.width}x{row.height}" if row.width else ""),
            Cell(row.format),
        ]
        for position, row in enumerate(wrong.itertuples())
    ]
    columns = ("file", "what is wrong", "bytes", "pixels", "format")
    return Table("Files with something wrong", columns, cells, ALL, MOST_FILES) if cells else None


def _tabulate_formats(images: pd.DataFrame) -> Table:
    cells = []
    for name, group in images.groupby("format"):
        cells.append(
            [
                Cell(str(name) or "unknown"),
                make_number_cell(float(len(group)), 0),
                make_number_cell(float(group["corrupt"].sum()), 0),
                make_number_cell(float((group["extension_agrees"].eq(False)).sum()), 0),
                make_number_cell(float(group["bytes"].median()), 0),
                make_number_cell(float(group["megapixels"].median()), 2),
            ]
        )
    columns = (
        "format",
        "images",
        "corrupt",
        "other extension",
        "median bytes",
        "median megapixels",
    )
    return Table("Formats", columns, cells)


def _tabulate_categories(summary: Mapping[str, Any]) -> Table | None:
    keys = ("images", "corrupt", "missing_values", "size_outliers", "dimension_outliers")
    cells = [
        [
            Cell(name),
            *(make_number_cell(float(numbers[key]), 0) for key in (*keys, "duplicates")),
            make_number_cell(numbers["median_bytes"], 0),
            make_number_cell(numbers["median_megapixels"], 2),
        ]
        for name, numbers in summary["categories"].items()
    ]
    columns = ("category", *(key.replace("_", " ") for key in keys), "duplicates")
    columns = (*columns, "median bytes", "median megapixels")
    return Table("Categories", columns, cells, ALL, 1000) if len(cells) > 1 else None


def _list_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    places = (
        ("reconciliation", "Expected and found", "reconciliation"),
        ("sizes", "Sizes", "measured"),
        ("missing", "Missing values", "matrix"),
        ("wrong", "Files", "wrong"),
        ("thumbnails", "Pictures", "thumbnails"),
        ("formats", "Formats", "formats"),
        ("categories", "Categories", "categories"),
        ("exif", "EXIF", "exif"),
    )
    return [
        ("numbers", "Numbers"),
        ("findings", "Findings"),
        *list_sections(content, places),
        ("settings", "Settings"),
    ]
