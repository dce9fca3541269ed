"""What the rows of one run say: each finding is a pure function of them."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bgexp.experiment.refinement_findings import find_refinement_findings
from bgexp.experiment.run_view import (
    RunView,
    compute_mean_errors,
    compute_mean_iou,
    suggest_override,
)
from bgexp.experiment.truth_findings import find_truth_findings
from bgexp.report.finding import CLEAR_DIFFERENCE, POOR_IOU, Finding, get_column, rank_findings
from bgexp.report.wording import format_count


def find_run_findings(
    rows: pd.DataFrame, summary: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Finding]:
    """Return at most five findings of a run, the worst first.

    Args:
        rows: The columns of `ImageResult.to_columns`, a row an image.
        summary: summary.json as a dict.
        settings: The run's settings as nested dicts, for what to try next.
    """
    if rows.empty:
        return []
    view = RunView(rows, summary, settings)
    checks = (
        _find_failed,
        _find_empty_masks,
        _find_poor,
        _find_poor_categories,
        _find_one_sided,
        find_refinement_findings,
        _find_by_checks,
    )
    findings = [finding for check in checks for finding in check(view)]
    return rank_findings([*find_truth_findings(summary), *findings])


def _find_failed(view: RunView) -> Iterator[Finding]:
    failed = view.rows[view.rows["status"] == "failed"]
    if failed.empty:
        return
    reasons = failed["reason"].value_counts()
    reason_list = "; ".join(f"{reason} ({n:,})" for reason, n in reasons.head(3).items())
    share = len(failed) / len(view.rows)
    sizes = [float(n) for n in re.findall(r"= ([\d.e+]+) megapixels", " ".join(reasons.index))]
    setting = f"max_failed={math.ceil(100 * share) / 100:g}" if share < POOR_IOU else ""
    if sizes and len(sizes) == len(reasons):
        setting = f"dataset.max_megapixels={math.ceil(max(sizes))}"
    yield Finding(
        "problem" if view.summary.get("status") == "failed" else "warning",
        f"{len(failed):,} of {format_count(len(view.rows), 'image')} failed",
        f"{share:.1%} have no result: {reason_list}. Mend or remove the files"
        f"{', or allow for them' if setting else ''}.",
        tuple(failed["path"]),
        setting,
        share,
    )


def _find_empty_masks(view: RunView) -> Iterator[Finding]:
    # Where the truth is empty too, IoU is undefined and finding nothing is right.
    rows = view.succeeded if view.scored.empty else view.scored
    empty = get_column(rows, "check.nothing_found") == 1
    if not empty.any():
        return
    cost = float(rows["iou"][~empty].mean() - rows["iou"].mean())
    evidence = f"No detection passed the threshold in {empty.mean():.1%} of the images."
    if cost > 0:
        others = compute_mean_iou(rows[~empty])
        evidence += f" Each counts as IoU 0; the others have a mean of {others:.3f}."
    labels = "detector.labels=null" if view.get("detector.labels") else ""
    # Above the threshold there is nothing, so what counts is how low the fallback goes.
    has_fallback = view.get("detector.score_fallback") is not None
    limit = "detector.score_fallback" if has_fallback else "detector.score_threshold"
    yield Finding(
        "problem" if empty.mean() > CLEAR_DIFFERENCE else "warning",
        f"Nothing was found in {format_count(int(empty.sum()), 'image')}",
        evidence,
        tuple(rows["path"][empty]),
        labels or view.shift_setting(limit, -0.2),
        cost if cost > 0 else float(empty.mean()),
    )


def _find_poor(view: RunView) -> Iterator[Finding]:
    rows = view.scored
    rows = rows[get_column(rows, "check.nothing_found") != 1]
    poor = rows["iou"] < POOR_IOU
    if not poor.any() or poor.all():
        return
    cost = compute_mean_iou(rows[~poor]) - compute_mean_iou(rows)
    lost, leaked = compute_mean_errors(rows[poor])
    yield Finding(
        "warning",
        f"{format_count(int(poor.sum()), 'image')} below an IoU of {POOR_IOU:g}",
        f"{lost:.0%} of the foreground there is lost, and {leaked:.0%} of what is kept is "
        f"background. Mean IoU is {compute_mean_iou(rows):.3f}, and "
        f"{compute_mean_iou(rows[~poor]):.3f} without these.",
        tuple(rows["path"][poor]),
        suggest_override(view, lost, leaked),
        cost,
    )


def _find_poor_categories(view: RunView) -> Iterator[Finding]:
    rows = view.scored
    behind = _compute_category_gaps(rows)
    if behind.empty:
        return
    name = behind.idxmax()
    inside = rows["category"] == name
    lost, leaked = compute_mean_errors(rows[inside])
    yield Finding(
        "warning",
        f"The category {name} is {behind[name]:.2f} behind the rest",
        f"Mean IoU {compute_mean_iou(rows[inside]):.3f} on "
        f"{format_count(int(inside.sum()), 'image')}, {compute_mean_iou(rows[~inside]):.3f} "
        f"on the other {(~inside).sum():,}; {lost:.0%} of its foreground is lost, "
        f"{leaked:.0%} of what is kept there is background.",
        tuple(rows["path"][inside]),
        suggest_override(view, lost, leaked),
        float(behind[name] * inside.mean()),
    )


def _compute_category_gaps(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return how far categories' mean IoU is below that of all others, where that is sure.

    Sure is a difference of more than two standard errors (Welch), about 95 %.
    """
    groups = rows.assign(square=rows["iou"] ** 2).groupby("category")
    n, total = groups.size(), groups[["iou", "square"]].sum()
    n_others, total_others = len(rows) - n, total.sum() - total
    mean, mean_rest = total["iou"] / n, total_others["iou"] / n_others
    error = (total["square"] / n - mean**2) / (n - 1)
    error += (total_others["square"] / n_others - mean_rest**2) / (n_others - 1)
    gap = mean_rest - mean
    is_certain = (n >= 3) & (n_others >= 3) & (gap > CLEAR_DIFFERENCE) & (gap**2 > 4 * error)
    return gap[is_certain]


def _find_one_sided(view: RunView) -> Iterator[Finding]:
    lost, leaked = compute_mean_errors(view.scored)
    larger, smaller = max(lost, leaked), min(lost, leaked)
    if not larger > max(CLEAR_DIFFERENCE, 2 * smaller):
        return
    key, error = ("background_leakage", "Background that stays")
    if lost > leaked:
        key, error = ("foreground_recall", "Foreground that gets lost")
    ordered = view.scored.sort_values(key, ascending=lost > leaked, kind="stable")
    yield Finding(
        "note",
        f"{error} is most of the error",
        f"On average {lost:.1%} of the true foreground is lost, and {leaked:.1%} of what is kept "
        "is background.",
        tuple(ordered["path"].head(6)),
        suggest_override(view, lost, leaked),
        larger,
    )


def _find_by_checks(view: RunView) -> Iterator[Finding]:
    """Warn of images by checks; with truth, only where those are indeed worse than the others."""
    size = next((k for k in ("detector.image_size", "detector.min_size") if view.get(k)), "")
    larger = f"{size}={int(view.get(size) * 1.5) // 32 * 32}" if size else ""
    central = "combine.instances=central" if view.get("combine.instances") == "all" else ""
    specks = "combine.min_area=0.005" if view.get("combine.min_area") == 0 else ""
    tighter = view.shift_setting("combine.mask_threshold", 0.2)
    cases = (
        ("confidence", 0.6, "The detector is unsure about", "a confidence below 0.6", larger),
        ("border_contact", 0.25, "The mask runs along the border of", "a quarter or more of the "
         "picture's border inside the mask: cut off by the frame, or background", central),
        ("parts", 6, "The mask falls into pieces in", "six or more separate parts", specks),
        ("coverage", 0.9, "Nearly the whole picture is kept in", "90 % or more kept", tighter),
    )  # fmt: skip
    for key, limit, title, meaning, setting in cases:
        values = get_column(view.succeeded, f"check.{key}")
        flagged = values < limit if key == "confidence" else values >= limit
        yield from _find_flagged(view.succeeded, flagged, (title, meaning, setting))


def _find_flagged(
    rows: pd.DataFrame, flagged: "pd.Series[bool]", texts: tuple[str, str, str]
) -> Iterator[Finding]:
    title, meaning, setting = texts
    share, gap = (
        float(flagged.mean()),
        compute_mean_iou(rows[~flagged]) - compute_mean_iou(rows[flagged]),
    )
    worse = math.isnan(gap) or gap >= CLEAR_DIFFERENCE  # without truth nothing tells
    if not share >= 2 * CLEAR_DIFFERENCE or not worse:
        return
    evidence = f"{share:.0%} of the images have {meaning}."
    if not math.isnan(gap):
        mean = compute_mean_iou(rows[flagged])
        evidence += f" Their mean IoU is {mean:.3f}, {gap:.3f} below the others'."
    yield Finding(
        "note",
        f"{title} {format_count(int(flagged.sum()), 'image')}",
        evidence,
        tuple(rows["path"][flagged]),
        setting,
        share if math.isnan(gap) else gap * share,
    )
