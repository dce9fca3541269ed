import math

import pytest

from bgexp.experiment.aggregate import (
    check_ranks,
    compare_refinement,
    compute_images_per_s,
    count_detections,
    count_statuses,
    summarize,
    summarize_categories,
    summarize_timings,
)
from bgexp.experiment.results import ImageResult
from bgexp.metrics.checks import CHECKS
from bgexp.metrics.performance import METRICS


def row(path="a.jpg", iou=None, category="", status="ok", **changes):
    metrics = {} if iou is None else dict.fromkeys(METRICS, 0.5) | {"iou": iou}
    values = {"path": path, "category": category, "sha256": "0" * 64, "status": status}
    return ImageResult(**values, metrics=metrics, **changes)


def checks(coverage):
    return dict.fromkeys(CHECKS, 1.0) | {"coverage": coverage}


def make_failed_row(path="bad.jpg", category="", reason="truncated"):
    return row(path, None, category, "failed", reason=reason)


def test_counts():
    rows = [row(), make_failed_row(), row(), row()]
    assert count_statuses(rows, 6) == {"total": 6, "ok": 3, "failed": 1, "skipped": 2}
    assert count_statuses([], 0) == {"total": 0, "ok": 0, "failed": 0, "skipped": 0}


def test_aggregation_by_hand():
    rows = [row(iou=value) for value in (0.2, 0.4, 0.9, math.nan)]
    iou = summarize(rows, "metrics")["iou"]
    # Linear between the order statistics: 0.2 + 0.1 * (0.4 - 0.2), 0.4 + 0.9 * (0.9 - 0.4).
    assert iou == pytest.approx(
        {"mean": 0.5, "median": 0.4, "p05": 0.22, "p95": 0.85, "n_scored": 3, "n_undefined": 1}
    )
    assert list(summarize(rows, "metrics")) == list(METRICS)


def test_failed_rows_are_in_no_mean():
    broken = ImageResult("x", "", "", "failed", metrics=dict.fromkeys(METRICS, 0.0))
    iou = summarize([row(iou=0.8), broken, make_failed_row()], "metrics")["iou"]
    assert (iou["mean"], iou["n_scored"], iou["n_undefined"]) == (0.8, 1, 0)


def test_images_without_truth_have_checks_and_no_metrics():
    rows = [row(checks=checks(value)) for value in (0.25, 0.75)]
    assert summarize(rows, "metrics") == {}
    assert list(summarize(rows, "checks")) == list(CHECKS)
    assert summarize(rows, "checks")["coverage"]["mean"] == 0.5
    assert summarize([make_failed_row()], "checks") == {}


def test_a_metric_that_is_undefined_everywhere_is_still_counted():
    aggregate = summarize([row(iou=math.nan), row()], "metrics")["iou"]
    assert (aggregate["n_scored"], aggregate["n_undefined"]) == (0, 2)
    assert math.isnan(aggregate["mean"])


def test_categories():
    rows = [
        row("b/1", 0.2, "b"),
        row("a/1", 0.4, "a"),
        make_failed_row("b/2", "b"),
        row("b/3", 0.6, "b"),
    ]
    groups = summarize_categories(rows)
    assert list(groups) == ["a", "b"]
    assert groups["b"]["counts"] == {"total": 3, "ok": 2, "failed": 1, "skipped": 0}
    assert groups["b"]["metrics"]["iou"]["mean"] == pytest.approx(0.4)
    assert groups["a"]["metrics"]["iou"]["n_scored"] == 1


def test_timings_by_hand():
    rows = [row(timings_ms={"detect": float(ms)}) for ms in (10, 20, 30, 40, 100)]
    rows += [make_failed_row(), row(timings_ms={"load": 7.0})]
    # 95th percentile: at 0.95 * 4 = 3.8 of the order statistics, 40 + 0.8 * 60.
    assert summarize_timings(rows) == {
        "load": pytest.approx({"total_s": 0.007, "mean_ms": 7, "p50_ms": 7, "p95_ms": 7}),
        "detect": pytest.approx({"total_s": 0.2, "mean_ms": 40, "p50_ms": 30, "p95_ms": 88}),
    }
    assert summarize_timings([]) == {}


def refined(before, after, status="applied", refine_ms=10.0):
    return row(
        iou=after,
        unrefined={"iou": before, "boundary_iou": before},
        refined=status,
        timings_ms={"detect": 30.0, "refine": refine_ms},
    )


def test_refinement_by_hand():
    rows = [
        refined(0.5, 0.75),
        refined(0.5, 0.25),
        refined(0.25, 0.75),
        make_failed_row(),
        row(iou=1.0),
    ]
    rows += [refined(0.5, 0.5, "refused", 30.0), refined(0.0, 0.0, "skipped", 0.0)]
    refinement = compare_refinement(rows)
    assert [refinement[f"n_{name}"] for name in ("applied", "skipped", "refused")] == [3, 1, 1]
    assert refinement["added_ms"] == 12  # (10 + 10 + 10 + 30 + 0) / 5
    assert refinement["added_share"] == pytest.approx(60 / 150)
    iou = refinement["iou"]
    assert (iou["n"], iou["n_better"], iou["n_worse"]) == (5, 2, 1)
    assert (iou["before"], iou["after"]) == pytest.approx((0.35, 0.45))
    assert iou["change"] == pytest.approx(0.1)
    assert iou["low"] < 0.1 < iou["high"]


def test_no_refinement_and_no_truth():
    assert compare_refinement([row(iou=0.5), make_failed_row()]) == {}
    untold = row(refined="applied", timings_ms={"detect": 10.0, "refine": 5.0})
    assert compare_refinement([untold]) == {
        "n_applied": 1,
        "n_skipped": 0,
        "n_refused": 0,
        "added_ms": 5,
        "added_share": 0.5,
    }


def test_checks_that_rank_as_iou_does():
    rows = [row(iou=value, checks=checks(value / 2)) for value in (0.1, 0.9, 0.5, 0.7)]
    ranks = check_ranks(rows)
    assert list(ranks) == list(CHECKS)
    assert ranks["coverage"] == {"spearman": pytest.approx(1), "n": 4}
    assert math.isnan(ranks["parts"]["spearman"])  # it is the same everywhere
    assert check_ranks([row(checks=checks(0.5)), make_failed_row()]) == {}


def test_known_detections():
    assert count_detections([row(), row(cached=True), make_failed_row()]) == {
        "computed": 1,
        "cached": 1,
    }


def test_images_per_second_are_those_of_the_stages():
    rows = [row(timings_ms={"load": 100.0, "detect": 300.0}), make_failed_row()]
    rows += [row(timings_ms={"load": 100.0, "detect": 500.0})]
    assert compute_images_per_s(rows, 1) == 2
    assert compute_images_per_s(rows, 3) == 6
    assert math.isnan(compute_images_per_s([make_failed_row()], 1))
