"""The page of one run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from bgexp.experiment import tables
from bgexp.experiment.findings import find_run_findings
from bgexp.experiment.gallery import BEST, WORST, Picture, make_panels
from bgexp.experiment.image_table import tabulate_images
from bgexp.experiment.refinement_chart import plot_change
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.report import charts, overview
from bgexp.report.finding import get_column
from bgexp.report.labels import get_display_name, list_settings
from bgexp.report.render import (
    MAX_ROWS,
    Cell,
    Table,
    find_anchors,
    format_number,
    list_sections,
    render_page,
)
from bgexp.report.tables import tabulate_timings
from bgexp.report.threshold_chart import (
    describe_thresholds,
    draw_threshold_scores,
    has_thresholds,
)

_METRICS = ("iou", "boundary_iou", "foreground_recall", "background_leakage")
_CHECKS = ("coverage", "confidence", "border_contact", "parts")
_EMPTY: Mapping[str, str] = {}


def render_run(
    summary: Mapping[str, Any],
    settings: Mapping[str, Any],
    rows: pd.DataFrame,
    pictures: Sequence[Picture] = (),
    when: datetime | None = None,
    links: Mapping[str, str] = _EMPTY,
) -> bytes:
    """Render the page of a run, one HTML file that loads nothing from outside.

    Args:
        summary: summary.json as a dict; of a run that broke, `status` and `error` are enough.
        settings: The run's settings as nested dicts.
        rows: The columns of `ImageResult.to_columns`, a row an image; may be empty.
        pictures: The pictures of the images that `choose_gallery` chose, in its order.
        when: When the run began.
        links: Files beside the page: the text of each link and its path relative to the page.
    """
    findings = find_run_findings(rows, summary, settings)
    failed = rows[rows["status"] == "failed"] if len(rows) else rows
    anchors = {path: f"failed-{n}" for n, path in enumerate(failed.get("path", [])[:MAX_ROWS], 1)}
    anchors |= {picture.choice.path: f"image-{n}" for n, picture in enumerate(pictures, 1)}
    stages_table, stages, stages_sentence = tabulate_timings(summary)
    ranks, ranks_sentence = tables.tabulate_ranks(summary)
    content = {
        "has_truth": bool(summary.get("metrics")),
        "cards": tables.build_cards(summary),
        "all_numbers": tables.tabulate_all(summary),
        "histograms": _draw_histograms(rows, bool(summary.get("metrics"))),
        "check_histograms": _draw_histograms(rows, False) if summary.get("metrics") else [],
        "thresholds": _describe_thresholds(summary, settings),
        "categories": tables.tabulate_categories(summary),
        "refinement": _describe_refinement(summary, rows),
        "ranks": ranks,
        "ranks_sentence": ranks_sentence,
        "gallery": _build_gallery(pictures, rows, anchors),
        "all_images": tabulate_images(rows, anchors),
        "failed": _tabulate_failed(failed, anchors),
        "timings": stages_table,
        "stages": stages,
        "timings_sentence": stages_sentence,
    }
    return render_page(
        "run.html",
        kind="bgexp run",
        title=_format_title(settings),
        banners=overview.build_banners(summary, settings),
        facts=overview.build_facts(summary, settings, when),
        places=_list_places(content),
        findings=findings,
        anchors=find_anchors(anchors, findings),
        settings=list(list_settings(settings)),
        links=links,
        footer=overview.format_footer(summary),
        tracked=overview.format_run_address(summary.get("run_id"), settings),
        **content,
    )


def _format_title(settings: Mapping[str, Any]) -> str:
    sections = [settings.get(key) or {} for key in ("dataset", "detector", "refine")]
    names = [str(section.get("name", "")) for section in sections]
    names[2] = "no refinement" if names[2] == "none" else names[2]
    return " \u00b7 ".join(name for name in names if name) or "Settings unknown"


def _list_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    places = (
        ("numbers", "Numbers" if content["has_truth"] else "Checks", "cards"),
        ("distributions", "Distributions", "histograms"),
        ("thresholds", "Mask threshold", "thresholds"),
        ("categories", "Categories", "categories"),
        ("refinement", "Refinement", "refinement"),
        ("checks", "Trust in checks", "ranks"),
        ("images", "Images", "gallery"),
        ("all", "All images", "all_images"),
        ("failed", "Failed images", "failed"),
        ("timings", "Time", "timings"),
    )
    return [("findings", "Findings"), *list_sections(content, places), ("settings", "Settings")]


def _draw_histograms(rows: pd.DataFrame, has_truth: bool) -> list[charts.Histogram]:
    succeeded = rows[rows["status"] == "ok"] if len(rows) else rows
    histograms = []
    for key in _METRICS if has_truth else _CHECKS:
        values = (
            get_column(succeeded, key if has_truth else f"check.{key}").dropna().to_numpy(float)
        )
        if len(values):
            tail = 95 if key in LOWER_IS_BETTER else 5
            marks = {"mean": values.mean(), f"p{tail:02}": float(np.percentile(values, tail))}
            title = get_display_name(key)
            histograms.append(charts.draw_histogram(title, values, marks, whole=key == "parts"))
    return histograms


def _describe_thresholds(
    summary: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    curve = summary.get("threshold_curve") or {}
    if not has_thresholds(curve):
        return None
    threshold = (settings.get("combine") or {}).get("mask_threshold")
    return {
        "sentence": describe_thresholds(curve, threshold),
        "chart": draw_threshold_scores(curve, threshold),
        "n": curve["n"],
    }


def _describe_refinement(summary: Mapping[str, Any], rows: pd.DataFrame) -> dict[str, Any] | None:
    content = tables.describe_refinement(summary)
    if content is None or rows.empty:
        return content
    before, after = get_column(rows, "unrefined.iou"), get_column(rows, "iou")
    scatter = plot_change(before.to_numpy(float), after.to_numpy(float), list(rows["path"]))
    return content | {"scatter": scatter}


_GROUPS = {
    True: {WORST: "lowest IoU", BEST: "highest IoU"},
    False: {WORST: "nothing found, then least confidence", BEST: "most confidence"},
}


def _build_gallery(
    pictures: Sequence[Picture], rows: pd.DataFrame, anchors: Mapping[str, str]
) -> list[dict[str, Any]]:
    has_truth = any(picture.difference is not None for picture in pictures)
    by_path = rows.set_index("path") if pictures else rows
    return [
        {
            "name": name if has_truth or name != WORST else "Look at these first",
            "note": _GROUPS[has_truth].get(name, ""),
            "pictures": [
                {
                    "path": picture.choice.path,
                    "anchor": anchors[picture.choice.path],
                    "panels": make_panels(picture),
                    **_describe_picture(by_path.loc[picture.choice.path]),
                }
                for picture in group
            ],
        }
        for name, group in groupby(pictures, key=lambda picture: picture.choice.group)
    ]


def _describe_picture(row: "pd.Series[Any]") -> dict[str, Any]:
    """Return the numbers beside a picture, and what became of its refinement."""
    keys = _METRICS if not np.isnan(row["iou"]) else ("check.coverage", "check.parts")
    keys = (*keys, "unrefined.iou", "check.confidence")
    names = {"unrefined.iou": "IoU unrefined", "background_leakage": "Leakage"}
    names["foreground_recall"] = "Recall"
    scores = [
        (names.get(key) or get_display_name(key.removeprefix("check.")), format_number(row[key]))
        for key in keys
        if key in row and not np.isnan(row[key])
    ]
    not_applied = row.get("refined") in ("refused", "skipped")
    return {
        "scores": scores,
        "remark": f"Refinement {row['refined']}: {row['fallback']}" if not_applied else "",
    }


def _tabulate_failed(failed: pd.DataFrame, anchors: Mapping[str, str]) -> Table | None:
    rows = [
        [Cell(row.path, anchor=anchors.get(row.path, "")), Cell(row.category), Cell(row.reason)]
        for row in failed.itertuples()
    ]
    return Table("Failed images", ("image", "category", "reason"), rows) if rows else None
