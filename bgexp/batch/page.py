"""The page of a batch."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from bgexp.batch.findings import FLAGS, describe_pace, find_batch_findings
from bgexp.report import charts, overview
from bgexp.report.labels import list_settings
from bgexp.report.pictures import ByteArray, make_panel
from bgexp.report.render import (
    Cell,
    Table,
    find_anchors,
    format_number,
    list_sections,
    make_number_cell,
    render_page,
)
from bgexp.report.tables import Card, tabulate_timings
from bgexp.report.wording import format_count

ALL = "manifest.parquet"
MOST_LISTED = 200
_NOTHING: Mapping[str, str] = {}
_GRAVE_FLAGS = ("nothing_found", "high_coverage", "unstable", "low_coverage")


def list_most_doubtful(rows: pd.DataFrame, limit: int) -> list[str]:
    """Return paths of the results to look at first: grave or many flags, little confidence."""
    done_rows = rows[rows["status"] == "done"]
    flags = done_rows["flags"].str.split(",")
    grave = flags.map(lambda names: sum(name in _GRAVE_FLAGS for name in names))
    flag_count = flags.map(lambda names: sum(bool(name) for name in names))
    doubt = 10 * grave + flag_count - done_rows["confidence"].fillna(0)
    return list(done_rows["path"][doubt.sort_values(ascending=False, kind="stable").index][:limit])


def render_batch(
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: pd.DataFrame,
    pictures: Mapping[str, tuple[ByteArray, ByteArray]],
    when: datetime | None = None,
    links: Mapping[str, str] = _NOTHING,
) -> bytes:
    """Return the page of a batch, one HTML file that needs nothing outside it.

    Args:
        summary: The content of summary.json.
        settings: The batch's settings as nested dicts.
        rows: The columns of the manifest.
        pictures: Original and result by path, thumbnails, HxWx3 uint8 RGB; shown in this order.
        when: When the batch began.
        links: Addresses of files beside the page, by name.
    """
    findings = find_batch_findings(rows, summary)
    anchors = {path: f"image-{n}" for n, path in enumerate(pictures, 1)}
    stages_table, stages, sentence = tabulate_timings(summary)
    by_path = rows.set_index("path", drop=False)
    done_rows = rows[rows["status"] == "done"]
    content: dict[str, Any] = {
        "cards": _build_cards(summary),
        "gallery": [
            {
                "name": "Look at these first",
                "note": "flagged results, then those the detector is least sure of",
                "pictures": [
                    _describe_picture(by_path.loc[path], pair, anchors[path])
                    for path, pair in pictures.items()
                ],
            }
        ]
        if pictures
        else [],
        "issues": _tabulate_issues(rows),
        "flags": _tabulate_flags(summary, done_rows),
        "not_done": _tabulate_without_result(rows),
        "categories": _tabulate_categories(summary),
        "histograms": _draw_histograms(done_rows),
        "timings": stages_table,
        "stages": stages,
        "timings_sentence": sentence,
    }
    return render_page(
        "batch.html",
        kind="bgexp batch",
        title=_format_title(summary, settings["input"]),
        banners=overview.build_banners(_convert_counts(summary), settings),
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


def _format_title(summary: Mapping[str, Any], places: str | Sequence[str]) -> str:
    names = [places] if isinstance(places, str) else list(places)
    others = f" and {format_count(len(names) - 2, 'other place')}" if len(names) > 2 else ""
    return f"{format_count(summary['counts']['total'], 'file')} of {', '.join(names[:2])}{others}"


def _convert_counts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts as a run has them: skipped files were never to be processed."""
    counts = summary["counts"]
    processed = counts["done"] + counts["failed"]
    return {**summary, "counts": {**counts, "total": processed, "skipped": 0}}


def _build_facts(
    summary: Mapping[str, Any], settings: Mapping[str, Any], when: datetime | None
) -> list[overview.Fact]:
    facts = overview.build_facts({**summary, "dataset": None, "images_per_s": None}, settings, when)
    facts += overview.describe_metadata(summary)
    speed = f"{format_number(summary['images_per_s'], 2)} images/s"
    seconds = summary["seconds"]
    duration = (
        f"{format_number(seconds, 0)} s"
        if seconds < 120
        else f"{format_number(seconds / 60, 1)} minutes"
    )
    if summary["reused"]:
        duration += f"; {summary['reused']:,} results were there already"
    facts.append(overview.Fact("Speed", speed, duration))
    if network_pace := describe_pace(summary):
        facts.append(overview.Fact("Network", *network_pace))
    return facts


def _build_cards(summary: Mapping[str, Any]) -> list[Card]:
    counts = summary["counts"]
    kinds = f"{counts['regular']:,} regular, {format_count(counts['outliers'], 'outlier')}"
    skipped = [f"{name}: {count:,}" for name, count in list(summary["skipped"].items())[:4]]
    return [
        Card("Files", f"{counts['total']:,}", ["each has a row in the manifest"]),
        Card("Done", f"{counts['done']:,}", [kinds]),
        Card("Failed", f"{counts['failed']:,}", ["in processing"]),
        Card("Skipped", f"{counts['skipped']:,}", skipped),
        Card("To look at", f"{counts['flagged']:,}", ["flagged results"]),
    ]


def _describe_picture(
    row: "pd.Series[Any]", pair: tuple[ByteArray, ByteArray], anchor: str
) -> dict[str, Any]:
    remarks = [text for text in (row["flags"].replace(",", ", "), row["handling"]) if text]
    return {
        "path": row["path"],
        "anchor": anchor,
        "panels": [
            make_panel("original", pair[0], kind="original"),
            make_panel("cut-out", pair[1], kind="cutout"),
        ],
        "scores": [
            ("Coverage", format_number(row["coverage"])),
            ("Confidence", format_number(row["confidence"])),
        ],
        "remark": "; ".join(remarks),
    }


def _tabulate_issues(rows: pd.DataFrame) -> Table | None:
    """Tabulate what became of the images with each quality issue."""
    names = rows["quality_issues"].str.split(",").explode()
    names = names[names != ""]
    cells = []
    for name, positions in names.groupby(names).groups.items():
        group = rows.loc[positions]
        handlings = group["handling"][group["handling"] != ""]
        cells.append(
            [
                Cell(str(name)),
                *(
                    make_number_cell(float((group["status"] == s).sum()), 0)
                    for s in ("done", "failed")
                ),
                make_number_cell(float((group["status"] == "skipped").sum()), 0),
                make_number_cell(float((group["kind"] == "outlier").sum()), 0),
                make_number_cell(float(len(handlings)), 0),
                Cell(handlings.iloc[0] if len(handlings) else "as any other"),
            ]
        )
    columns = ("issue", "done", "failed", "skipped", "in outliers/", "handled", "for example")
    return Table("Quality issues and what became of them", columns, cells, ALL) if cells else None


def _tabulate_flags(summary: Mapping[str, Any], done_rows: pd.DataFrame) -> Table | None:
    cells = [
        [
            Cell(name),
            make_number_cell(float(count), 0),
            Cell(f"{count / len(done_rows):.1%}", count / len(done_rows)),
            Cell(FLAGS[name][0]),
            Cell(FLAGS[name][1] or "look at it"),
        ]
        for name, count in summary["flags"].items()
    ]
    columns = ("flag", "results", "share", "means", "try")
    return Table("Flags", columns, cells, ALL) if cells else None


def _tabulate_without_result(rows: pd.DataFrame) -> Table | None:
    remaining = rows[rows["status"] != "done"].sort_values(["status", "path"])
    cells = [[Cell(row.path), Cell(row.status), Cell(row.reason)] for row in remaining.itertuples()]
    columns = ("file", "status", "reason")
    return Table("Files without a result", columns, cells, ALL, MOST_LISTED) if cells else None


def _tabulate_categories(summary: Mapping[str, Any]) -> Table | None:
    keys = ("total", "done", "failed", "skipped", "outliers", "flagged")
    cells = [
        [Cell(name), *(make_number_cell(float(counts[key]), 0) for key in keys)]
        for name, counts in summary["categories"].items()
    ]
    if len(cells) < 2:
        return None
    columns = ("category", "files", *keys[1:])
    return Table("Categories", columns, cells, ALL, 1000)


def _draw_histograms(done_rows: pd.DataFrame) -> list[charts.Histogram]:
    histograms = []
    for key, name in (("coverage", "Coverage"), ("confidence", "Confidence")):
        values = done_rows[key].dropna().to_numpy(float)
        if len(values):
            p05 = float(np.percentile(values, 5))
            marks = {"mean": float(values.mean()), "p05": p05}
            histograms.append(charts.draw_histogram(name, values, marks))
    return histograms


def _list_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    places = (
        ("images", "Look first", "gallery"),
        ("flags", "Flags", "flags"),
        ("issues", "Quality issues", "issues"),
        ("not-done", "Without a result", "not_done"),
        ("categories", "Categories", "categories"),
        ("distributions", "Distributions", "histograms"),
        ("timings", "Time", "timings"),
    )
    return [
        ("numbers", "Numbers"),
        ("findings", "Findings"),
        *list_sections(content, places),
        ("settings", "Settings"),
    ]
