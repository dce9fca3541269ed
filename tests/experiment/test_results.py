import json
import math

import pytest

from bgexp.experiment.aggregate import (
    check_ranks,
    compare_refinement,
    count_detections,
    count_statuses,
    summarize,
    summarize_categories,
    summarize_timings,
)
from bgexp.experiment.results import (
    STAGES,
    UNREFINED,
    ImageResult,
    RunSummary,
    run_status,
    tabulate_rows,
)
from bgexp.metrics.checks import CHECKS
from bgexp.metrics.performance import METRICS
from bgexp.tracking.run_folder import RunFolder

# The contract of summary.json, in its order. `categories`, and `error` where a run was
# interrupted, are ours on top.
KEYS = [
    *("schema_version", "command", "status", "run_id", "parent_run_id", "reused_from", "identity"),
    *("bgexp", "versions", "device", "weights", "dataset", "counts", "metrics", "checks"),
    *(
        "categories",
        "refinement",
        "check_ranks",
        "threshold_curve",
        "mask_ap",
        "detections",
        "timings",
        "workers",
        "images_per_s",
        "peak_rss_bytes",
        "error",
        "files",
    ),
]
STATISTICS = ["mean", "median", "p05", "p95", "n_scored", "n_undefined"]
PERCENTILES = ["total_s", "mean_ms", "p50_ms", "p95_ms"]


def row(path="a.jpg", iou=None, category="", status="ok", **changes):
    metrics = {} if iou is None else dict.fromkeys(METRICS, 0.5) | {"iou": iou}
    values = {"path": path, "category": category, "sha256": "0" * 64, "status": status}
    return ImageResult(**values, metrics=metrics, **changes)


def checks(coverage):
    return dict.fromkeys(CHECKS, 1.0) | {"coverage": coverage}


def make_failed_row(path="bad.jpg", category="", reason="truncated"):
    return row(path, None, category, "failed", reason=reason)


def summary(**changes):
    rows = [
        row(
            f"a/{n}.jpg",
            0.5,
            "a",
            checks=checks(0.25),
            unrefined={"iou": 0.25, "boundary_iou": 0.5},
            refined="applied",
            timings_ms={"load": 2.0, "refine": 4.0},
        )
        for n in range(3)
    ]
    values = {
        "command": "run",
        "status": "finished",
        "run_id": "r",
        "parent_run_id": None,
        "reused_from": None,
        "identity": "i",
        "bgexp": {"version": "1", "source_hash": "s", "git_commit": None},
        "versions": {},
        "device": {},
        "weights": {},
        "dataset": {"name": "pairs", "root": "photos", "digest": "d"},
        "counts": count_statuses(rows, 3),
        "metrics": summarize(rows, "metrics"),
        "checks": summarize(rows, "checks"),
        "categories": summarize_categories(rows),
        "refinement": compare_refinement(rows),
        "check_ranks": check_ranks(rows),
        "threshold_curve": {"n": 1, "thresholds": [0.5], "iou": [0.8]},
        "mask_ap": {"ap": 0.5},
        "detections": count_detections(rows),
        "timings": summarize_timings(rows),
        "workers": 1,
        "images_per_s": 2.0,
        "peak_rss_bytes": 10,
    }
    return RunSummary(**values | changes)


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
    numbers = summary().to_metrics()
    expected = {f"{key}.{name}" for key in METRICS for name in STATISTICS}
    expected |= {f"checks.{key}.{name}" for key in CHECKS for name in STATISTICS}
    expected |= {f"timings.{s}.{name}" for s in ("load", "refine") for name in PERCENTILES}
    expected |= {
        f"refinement.{key}.{name}"
        for key in UNREFINED
        for name in ("n", "before", "after", "change", "low", "high", "n_better", "n_worse")
    }
    expected |= {f"refinement.n_{name}" for name in ("applied", "skipped", "refused")}
    expected |= {"refinement.added_ms", "refinement.added_share", "mask_ap.ap"}
    expected |= {"detections.computed", "detections.cached"}
    expected |= {f"check_ranks.{key}" for key in CHECKS}
    expected |= {f"counts.{name}" for name in ("total", "ok", "failed", "skipped")}
    expected |= {"category.a.iou.mean", "images_per_s", "peak_rss_bytes"}
    assert numbers.keys() == expected
    assert (numbers["iou.mean"], numbers["timings.refine.p95_ms"]) == (0.5, 4.0)
    assert (numbers["checks.coverage.mean"], numbers["counts.total"]) == (0.25, 3)
    assert (numbers["refinement.iou.change"], numbers["refinement.added_share"]) == (0.25, 2)
    undefined = {key for key, value in numbers.items() if not math.isfinite(value)}
    assert undefined == {f"check_ranks.{key}" for key in CHECKS}  # equal images rank nothing


def test_rows_as_parquet(tmp_path):
    folder = RunFolder(tmp_path / "new")
    good = row("käse/ü 1.jpg", 0.75, "käse", width=4, height=3, timings_ms={"load": 1.5})
    folder.write_rows(tabulate_rows([good, make_failed_row("bad.jpg", reason="empty: no bytes")]))
    table = folder.read_rows()
    named = ["path", "category", "sha256", "status", "reason", "width", "height"]
    named += ["refined", "fallback", "mask_sha256", "alpha_sha256", "cached"]
    unrefined = [f"unrefined.{key}" for key in UNREFINED]
    checked, stages = [f"check.{key}" for key in CHECKS], [f"ms.{stage}" for stage in STAGES]
    assert list(table.columns) == [*named, *METRICS, *unrefined, *checked, *stages]
    assert table.refined.tolist() == ["off", "off"]
    assert table.path.tolist() == ["käse/ü 1.jpg", "bad.jpg"]
    assert table.status.tolist() == ["ok", "failed"]
    assert table.reason.tolist() == ["", "empty: no bytes"]
    assert (table.iou[0], table["ms.load"][0], table.width[0]) == (0.75, 1.5, 4)
    assert table.loc[1, [*METRICS, *unrefined, *checked, *stages]].isna().all()


def test_a_run_without_a_row_has_the_same_columns():
    none, first = tabulate_rows([]), tabulate_rows([row()])
    assert list(none.columns) == list(first.columns)
    assert len(none) == 0


def test_the_summary_has_the_keys_of_the_contract(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_summary(summary(images_per_s=math.nan).to_document())
    text = (tmp_path / "summary.json").read_text()
    stored = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert list(stored) == KEYS
    assert stored["schema_version"] == 1
    assert stored["images_per_s"] is None
    assert list(stored["metrics"]["iou"]) == STATISTICS
    assert list(stored["timings"]["refine"]) == PERCENTILES
    assert RunSummary(**folder.read_summary()).metrics == summary().metrics
