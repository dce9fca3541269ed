"""What the manifest of a batch says: what to look at first, and what to try."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bgexp.report.finding import Finding, rank_findings
from bgexp.report.wording import format_count

# Each flag: what it means, and what to try.
FLAGS = {
    "nothing_found": ("nothing was found, the result is empty", "detector.score_fallback=0.1"),
    "low_coverage": ("hardly anything is kept", "detector.score_threshold=0.3"),
    "high_coverage": ("nearly the whole picture is kept", "detector.score_threshold=0.95"),
    "many_parts": ("the mask is in many pieces", "combine.min_area=0.001"),
    "border_contact": ("much of the picture's border is kept", "combine.instances=central"),
    "low_confidence": ("the detector is not sure of what it found", ""),
    "refinement_refused": ("the refinement was given up, the edge is coarse", "refine=guided"),
    "unstable": ("two ways of looking at a long picture disagree", ""),
}

BOTTLENECK_SHARE = 0.9  # of the time: a network that is so busy keeps the processes waiting


def find_batch_findings(rows: pd.DataFrame, summary: Mapping[str, Any]) -> list[Finding]:
    """Return at most five findings, the worst first.

    Args:
        rows: The columns of the manifest.
        summary: summary.json as a dict.
    """
    if rows.empty:
        return []
    finders = (_find_failed, _find_corrupt, _find_flagged, _find_missing, _find_extensions)
    return rank_findings(finding for find in finders for finding in find(rows, summary))


def _find_failed(rows: pd.DataFrame, summary: Mapping[str, Any]) -> Iterator[Finding]:
    failed = rows[rows["status"] == "failed"]
    if failed.empty:
        return
    reasons = failed["reason"].value_counts().head(3)
    causes = "; ".join(f"{reason} ({count:,})" for reason, count in reasons.items())
    yield Finding(
        "problem" if summary.get("status") == "failed" else "warning",
        f"{format_count(len(failed), 'image')} failed",
        f"{causes}. Run the same command again: it works on these once more, and on nothing else.",
        tuple(failed["path"]),
        weight=len(failed) / len(rows),
    )


def _find_corrupt(rows: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    corrupt = rows[rows["reason"].str.startswith("corrupt:")]
    if len(corrupt):
        yield Finding(
            "warning",
            f"{format_count(len(corrupt), 'file')} {'is' if len(corrupt) == 1 else 'are'} damaged",
            "They were skipped; the manifest tells what is wrong with each. Fetch them anew and "
            "run the same command again.",
            tuple(corrupt["path"]),
            weight=len(corrupt) / len(rows),
        )


def _find_flagged(rows: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    results = rows[rows["status"] == "done"]
    for name, (meaning, setting) in FLAGS.items():
        flagged = results[
            results["flags"].str.split(",").map(lambda names, flag=name: flag in names)
        ]
        if flagged.empty:
            continue
        yield Finding(
            "warning" if name in ("nothing_found", "high_coverage") else "note",
            f"{format_count(len(flagged), 'result')} flagged {name}",
            f"{len(flagged) / len(results):.1%} of the results: {meaning}.",
            tuple(flagged.sort_values("confidence", na_position="first")["path"]),
            setting,
            len(flagged) / len(results),
        )


def _find_missing(_rows: pd.DataFrame, summary: Mapping[str, Any]) -> Iterator[Finding]:
    missing = summary.get("missing_metadata") or {}
    if missing:
        field_counts = ", ".join(f"{name} {count:,}" for name, count in list(missing.items())[:6])
        yield Finding(
            "note", "Metadata are missing", f"Images without the field: {field_counts}.", weight=0.0
        )


def _find_extensions(rows: pd.DataFrame, _summary: Mapping[str, Any]) -> Iterator[Finding]:
    wrong = rows[rows["quality_issues"].str.contains("wrong_extension")]
    if len(wrong):
        yield Finding(
            "note",
            f"{format_count(len(wrong), 'image')} with the extension of another format",
            "They were worked on like all others; other programs may refuse them.",
            tuple(wrong["path"]),
            weight=len(wrong) / len(rows),
        )


def describe_pace(summary: Mapping[str, Any]) -> tuple[str, str] | None:
    """Say how busy the network shared by a batch's processes was, and what set the pace."""
    if (network := summary["network"]) is None:
        return None
    busy = f"busy {network['busy']:.0%} of the time"
    if network["busy"] >= BOTTLENECK_SHARE:
        return busy, f"it sets the pace: {network['images_per_s']:.1f} pictures/s at most"
    times = {k: v["total_s"] for k, v in summary["timings"].items() if k != "detect"}
    if not times:
        return busy, "nothing was done"
    slowest = max(times, key=lambda name: times[name])
    share = times[slowest] / (sum(times.values()) or 1)
    return busy, f"the processes set the pace: {share:.0%} of their work is {slowest}"
