"""The table of all images on the page of a run."""

from collections.abc import Mapping

import pandas as pd

from bgexp.report.finding import get_column
from bgexp.report.labels import get_display_name
from bgexp.report.render import Cell, Table, make_change_cell, make_number_cell

_SCORES = ("iou", "boundary_iou", "foreground_recall", "background_leakage")
_CHECKS = ("check.coverage", "check.confidence", "check.parts", "check.border_contact")


def tabulate_images(rows: pd.DataFrame, anchors: Mapping[str, str]) -> Table | None:
    """Tabulate all images, the worst first and those without a score last; None without rows.

    Args:
        rows: The columns of `ImageResult.to_columns`.
        anchors: The place on the page of the images that it shows.
    """
    if rows.empty:
        return None
    has_truth = bool(rows["iou"].notna().any())
    keys = [*_SCORES, "check.confidence"] if has_truth else _CHECKS
    rows = rows.sort_values("iou" if has_truth else "check.confidence", kind="stable")
    columns = {key: get_column(rows, key).to_list() for key in keys}
    changes = (rows["iou"] - get_column(rows, "unrefined.iou")).to_list()
    is_refined = any(change == change for change in changes)  # any that is not NaN
    notes = [
        reason or fallback
        for reason, fallback in zip(rows["reason"], rows["fallback"], strict=True)
    ]
    cells = []
    for n, (path, category) in enumerate(zip(rows["path"], rows["category"], strict=True)):
        url = f"#{anchors[path]}" if path in anchors else ""
        numbers = [
            make_number_cell(columns[key][n], 0 if key == "check.parts" else 3, bar=key == "iou")
            for key in keys
        ]
        change = [make_change_cell(changes[n])] if is_refined else []
        cells.append([Cell(path, url=url), Cell(category), *numbers, *change, Cell(notes[n])])
    names = [get_display_name(key.removeprefix("check.")) for key in keys]
    headings = ("image", "category", *names, *(["by refinement"] if is_refined else []), "note")
    sorting = (2 if has_truth else 3, "ascending")
    return Table("All images", headings, cells, sorting=sorting)
