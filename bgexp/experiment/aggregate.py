"""Rows to the numbers of a summary."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd

from bgexp.experiment.results import STAGES, UNREFINED, ImageResult
from bgexp.metrics.aggregation import aggregate
from bgexp.metrics.checks import CHECKS
from bgexp.metrics.matting import MATTING_METRICS
from bgexp.metrics.paired import compute_paired_change, compute_rank_agreement
from bgexp.metrics.performance import METRICS
from bgexp.metrics.thresholds import CURVES, THRESHOLDS


def count_statuses(rows: Sequence[ImageResult], total: int) -> dict[str, int]:
    """Count the images: all, ok, failed, and those that an interrupted run never reached."""
    failed = sum(row.status == "failed" for row in rows)
    ok = len(rows) - failed
    return {"total": total, "ok": ok, "failed": failed, "skipped": total - len(rows)}


def summarize(rows: Sequence[ImageResult], kind: Literal["metrics", "checks"]) -> dict[str, Any]:
    """Aggregate every metric (or check): mean, median, p05, p95, n_scored, n_undefined.

    All of them or, where no row has any, none: a dataset without truth has no metrics. Those of
    alpha are there where the truth is soft.
    """
    values = [getattr(row, kind) for row in rows if row.status == "ok"]
    keys = (METRICS if kind == "metrics" else CHECKS) if any(values) else ()
    keys += tuple(key for key in MATTING_METRICS if any(key in value for value in values))
    return {key: asdict(aggregate([value.get(key, math.nan) for value in values])) for key in keys}


def summarize_categories(rows: Sequence[ImageResult]) -> dict[str, Any]:
    """Return for each category its counts, metrics and checks."""
    groups: dict[str, list[ImageResult]] = defaultdict(list)
    for row in rows:
        groups[row.category].append(row)
    return {
        name: {
            "counts": count_statuses(group, len(group)),
            "metrics": summarize(group, "metrics"),
            "checks": summarize(group, "checks"),
        }
        for name, group in sorted(groups.items())
    }


def summarize_timings(rows: Sequence[ImageResult]) -> dict[str, dict[str, float]]:
    """Return each stage's times, as `summarize_stage_times`."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        for stage, milliseconds in row.timings_ms.items():
            times[stage].append(milliseconds)
    return summarize_stage_times(times)


def summarize_stage_times(times_ms: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return each stage's total in seconds, and mean, median and p95 in milliseconds.

    Args:
        times_ms: Milliseconds by stage, one for each image that passed it.
    """
    stages = {}
    for stage in (name for name in STAGES if len(times_ms.get(name, ()))):
        times = np.asarray(times_ms[stage], np.float64)
        p50, p95 = np.percentile(times, (50, 95))
        stages[stage] = {
            "total_s": float(times.sum()) / 1000,
            "mean_ms": float(times.mean()),
            "p50_ms": float(p50),
            "p95_ms": float(p95),
        }
    return stages


def compare_refinement(rows: Sequence[ImageResult]) -> dict[str, Any]:
    """Compare the refined masks with the unrefined ones of the same images; {} where it is off.

    How many images it was applied to, skipped or refused for; mean milliseconds and their share of
    the other stages' time; and with truth the change of each of UNREFINED.
    """
    refined = [row for row in rows if row.status == "ok" and row.refined != "off"]
    if not refined:
        return {}
    refine_ms = sum(row.timings_ms["refine"] for row in refined)
    other_ms = sum(sum(row.timings_ms.values()) for row in refined) - refine_ms
    counts = {
        f"n_{status}": sum(row.refined == status for row in refined)
        for status in ("applied", "skipped", "refused")
    }
    scored = [row for row in refined if row.unrefined]
    changes = {
        key: compute_paired_change(
            [r.unrefined[key] for r in scored], [r.metrics[key] for r in scored]
        )
        for key in (UNREFINED if scored else ())
    }
    return {
        **counts,
        "added_ms": refine_ms / len(refined),
        "added_share": refine_ms / other_ms,
        **{key: asdict(change) for key, change in changes.items()},
    }


def check_ranks(rows: Sequence[ImageResult]) -> dict[str, dict[str, float]]:
    """Compute how well each check alone ranks the images as IoU does; {} without truth."""
    scored = [row for row in rows if row.metrics]
    ious = [row.metrics["iou"] for row in scored]
    return {
        key: asdict(compute_rank_agreement([row.checks[key] for row in scored], ious))
        for key in (CHECKS if scored else ())
    }


def average_threshold_scores(rows: Sequence[ImageResult]) -> dict[str, Any]:
    """Average the scores of unrefined masks at each threshold; {} without truth.

    How many images have them, the thresholds, and for each of CURVES a mean a threshold, over the
    images where it is defined.
    """
    scored = [row.threshold_scores for row in rows if row.threshold_scores]
    if not scored:
        return {}
    curves = {key: pd.DataFrame([scores[key] for scores in scored]).mean() for key in CURVES}
    return {
        "n": len(scored),
        "thresholds": list(THRESHOLDS),
        **{key: means.tolist() for key, means in curves.items()},
    }


def count_detections(rows: Sequence[ImageResult]) -> dict[str, int]:
    """Count the images for which the network ran, and those with cached detections."""
    ok = [row for row in rows if row.status == "ok"]
    cached = sum(row.cached for row in ok)
    return {"computed": len(ok) - cached, "cached": cached}


def compute_images_per_s(rows: Sequence[ImageResult], n_workers: int) -> float:
    """Compute images a second by the stages' times alone, as in production; NaN if none was ok.

    Scoring and tracking do not count, and detections count as if none had been cached.
    """
    times = [sum(row.timings_ms.values()) for row in rows if row.status == "ok"]
    return 1000 * n_workers * len(times) / sum(times) if times else math.nan
