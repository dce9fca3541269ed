import json
import math

import pandas as pd
import pytest

from bgexp.metrics import CHECKS, METRICS
from bgexp.results import (
    STAGES,
    Row,
    Summary,
    by_category,
    counted,
    numbers,
    run_status,
    summarised,
    timings,
    write_rows,
)

# The contract of summary.json, in its order. `categories`, and `error` where a run was
# interrupted, are ours on top.
KEYS = [
    *("schema_version", "command", "status", "run_id", "parent_run_id", "reused_from", "identity"),
    *("bgexp", "versions", "device", "weights", "dataset", "counts", "metrics", "checks"),
    *("categories", "timings", "images_per_s", "peak_rss_bytes", "error"),
]
STATISTICS = ["mean", "median", "p05", "p95", "n_scored", "n_undefined"]
PERCENTILES = ["total_s", "mean_ms", "p50_ms", "p95_ms"]


def row(path="a.jpg", iou=None, category="", status="ok", **changes):
    metrics = {} if iou is None else dict.fromkeys(METRICS, 0.5) | {"iou": iou}
    values = {"path": path, "category": category, "sha256": "0" * 64, "status": status}
    return Row(**values, metrics=metrics, **changes)


def checks(coverage):
    return dict.fromkeys(CHECKS, 1.0) | {"coverage": coverage}


def failed(path="bad.jpg", category="", reason="truncated"):
    return row(path, None, category, "failed", reason=reason)


def summary(**changes):
    rows = [row("a/1.jpg", 0.5, "a", checks=checks(0.25), timings_ms={"refine": 4.0})]
    values = {
        "command": "run",
        "status": "finished",
        "run_id": "r",
        "parent_run_id": None,
        "reused_from": None,
        "identity": "i",
        "bgexp": {},
        "versions": {},
        "device": {},
        "weights": {},
        "dataset": {},
        "counts": counted(rows, 1),
        "metrics": summarised(rows, "metrics"),
        "checks": summarised(rows, "checks"),
        "categories": by_category(rows),
        "timings": timings(rows),
        "images_per_s": 2.0,
        "peak_rss_bytes": 10,
    }
    return Summary(**values | changes)


def test_counts():
    rows = [row(), failed(), row(), row()]
    assert counted(rows, 6) == {"total": 6, "ok": 3, "failed": 1, "skipped": 2}
    assert counted([], 0) == {"total": 0, "ok": 0, "failed": 0, "skipped": 0}


def test_aggregation_by_hand():
    rows = [row(iou=value) for value in (0.2, 0.4, 0.9, math.nan)]
    iou = summarised(rows, "metrics")["iou"]
    # Linear between the order statistics: 0.2 + 0.1 * (0.4 - 0.2), 0.4 + 0.9 * (0.9 - 0.4).
    assert iou == pytest.approx(
        {"mean": 0.5, "median": 0.4, "p05": 0.22, "p95": 0.85, "n_scored": 3, "n_undefined": 1}
    )
    assert list(summarised(rows, "metrics")) == list(METRICS)


def test_failed_rows_are_in_no_mean():
    broken = Row("x", "", "", "failed", metrics=dict.fromkeys(METRICS, 0.0))
    iou = summarised([row(iou=0.8), broken, failed()], "metrics")["iou"]
    assert (iou["mean"], iou["n_scored"], iou["n_undefined"]) == (0.8, 1, 0)


def test_images_without_truth_have_checks_and_no_metrics():
    rows = [row(checks=checks(value)) for value in (0.25, 0.75)]
    assert summarised(rows, "metrics") == {}
    assert list(summarised(rows, "checks")) == list(CHECKS)
    assert summarised(rows, "checks")["coverage"]["mean"] == 0.5
    assert summarised([failed()], "checks") == {}


def test_a_metric_that_is_undefined_everywhere_is_still_counted():
    found = summarised([row(iou=math.nan), row()], "metrics")["iou"]
    assert (found["n_scored"], found["n_undefined"]) == (0, 2)
    assert math.isnan(found["mean"])


def test_categories():
    rows = [row("b/1", 0.2, "b"), row("a/1", 0.4, "a"), failed("b/2", "b"), row("b/3", 0.6, "b")]
    groups = by_category(rows)
    assert list(groups) == ["a", "b"]
    assert groups["b"]["counts"] == {"total": 3, "ok": 2, "failed": 1, "skipped": 0}
    assert groups["b"]["metrics"]["iou"]["mean"] == pytest.approx(0.4)
    assert groups["a"]["metrics"]["iou"]["n_scored"] == 1


def test_timings_by_hand():
    rows = [row(timings_ms={"detect": float(ms)}) for ms in (10, 20, 30, 40, 100)]
    rows += [failed(), row(timings_ms={"load": 7.0})]
    # 95th percentile: at 0.95 * 4 = 3.8 of the order statistics, 40 + 0.8 * 60.
    assert timings(rows) == {
        "load": pytest.approx({"total_s": 0.007, "mean_ms": 7, "p50_ms": 7, "p95_ms": 7}),
        "detect": pytest.approx({"total_s": 0.2, "mean_ms": 40, "p50_ms": 30, "p95_ms": 88}),
    }
    assert timings([]) == {}


@pytest.mark.parametrize(
    ("ok", "bad", "skipped", "max_failed", "expected"),
    [
        (10, 0, 0, 0.0, "finished"),
        (9, 1, 0, 0.0, "failed"),
        (9, 1, 0, 0.1, "finished"),  # as many as allowed, and no more
        (8, 2, 0, 0.1, "failed"),
        (0, 10, 0, 1.0, "finished"),
        (0, 10, 0, 0.99, "failed"),
        (71, 29, 0, 0.29, "finished"),  # 0.29 * 100 < 29 in floating point
        (70, 30, 0, 0.29, "failed"),
        (9, 0, 1, 0.0, "interrupted"),
        (5, 4, 1, 0.0, "interrupted"),
        (0, 0, 10, 1.0, "interrupted"),
        (0, 0, 0, 0.0, "finished"),
    ],
)
def test_when_a_run_counts_as_failed(ok, bad, skipped, max_failed, expected):
    counts = {"total": ok + bad + skipped, "ok": ok, "failed": bad, "skipped": skipped}
    assert run_status(counts, max_failed) == expected


def test_numbers_for_the_tracking_store():
    found = numbers(summary())
    expected = {f"{key}.{name}" for key in METRICS for name in STATISTICS}
    expected |= {f"checks.{key}.{name}" for key in CHECKS for name in STATISTICS}
    expected |= {f"timings.refine.{name}" for name in PERCENTILES}
    expected |= {f"counts.{name}" for name in ("total", "ok", "failed", "skipped")}
    expected |= {"category.a.iou.mean", "images_per_s", "peak_rss_bytes"}
    assert found.keys() == expected
    assert (found["iou.mean"], found["timings.refine.p95_ms"]) == (0.5, 4.0)
    assert (found["checks.coverage.mean"], found["counts.total"]) == (0.25, 1)
    assert all(math.isfinite(value) for value in found.values())


def test_rows_as_parquet(tmp_path):
    path = tmp_path / "new" / "per_image.parquet"
    good = row("käse/ü 1.jpg", 0.75, "käse", width=4, height=3, timings_ms={"load": 1.5})
    write_rows([good, failed("bad.jpg", reason="empty: no bytes")], path)
    table = pd.read_parquet(path)
    named = ["path", "category", "sha256", "status", "reason", "width", "height", "fallback"]
    checked, stages = [f"check.{key}" for key in CHECKS], [f"ms.{stage}" for stage in STAGES]
    assert list(table.columns) == [*named, *METRICS, *checked, *stages]
    assert table.path.tolist() == ["käse/ü 1.jpg", "bad.jpg"]
    assert table.status.tolist() == ["ok", "failed"]
    assert table.reason.tolist() == ["", "empty: no bytes"]
    assert (table.iou[0], table["ms.load"][0], table.width[0]) == (0.75, 1.5, 4)
    assert table.loc[1, [*METRICS, *checked, *stages]].isna().all()


def test_a_run_without_a_row_has_the_same_columns(tmp_path):
    write_rows([], tmp_path / "none.parquet")
    write_rows([row()], tmp_path / "one.parquet")
    none, one = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("none", "one"))
    assert list(none.columns) == list(one.columns)
    assert len(none) == 0


def test_the_summary_has_the_keys_of_the_contract(tmp_path):
    path = tmp_path / "summary.json"
    summary(images_per_s=math.nan).write(path)
    stored = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert list(stored) == KEYS
    assert stored["schema_version"] == 1
    assert stored["images_per_s"] is None
    assert list(stored["metrics"]["iou"]) == STATISTICS
    assert list(stored["timings"]["refine"]) == PERCENTILES
    assert Summary(**json.loads(path.read_text())).metrics == summary().metrics
