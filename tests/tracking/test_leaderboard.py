import json

import pytest

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.doctor import UiSettings
from bgexp.tracking.leaderboard import build_view, write_leaderboard

RUNS = [
    {"detector.name": "demo", "refine.name": "none", "seed": "0"},
    {"detector.name": "demo", "refine.name": "unet", "seed": "0"},
]


def test_the_best_comes_first_and_what_differs_is_a_column():
    view = build_view(RUNS, ["images_per_s", "iou.mean", "timings.load.p95_ms"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`iou.mean`", False)
    columns = view["selectedColumns"]
    assert view["columnOrder"] == columns
    assert (columns[0], columns[-1]) == ("metrics.`iou.mean`", "params.`refine.name`")
    assert "params.`seed`" not in columns


def test_without_a_truth_the_newest_comes_first():
    view = build_view(RUNS[:1], ["checks.confidence.mean"])
    assert view["orderByKey"] == "attributes.start_time"
    assert view["selectedColumns"] == [
        *("metrics.`checks.confidence.mean`", "metrics.`checks.coverage.mean`"),
        *("metrics.`images_per_s`", "params.`detector.name`", "params.`refine.name`"),
    ]


@pytest.mark.slow
def test_the_view_is_kept_with_the_experiment(two_runs):
    from mlflow import MlflowClient

    config = compose_config("ui", [f"runs_dir={two_runs}"], None)
    path = write_leaderboard(check_settings(UiSettings, resolve_config(config)))
    tags = MlflowClient(f"sqlite:///{two_runs / 'mlflow.db'}").get_experiment("1").tags
    view = json.loads(tags["mlflow.sharedViewState.bgexp"])
    assert path.endswith(
        "/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=bgexp"
    )
    assert view["orderByKey"] == "metrics.`iou.mean`"
    assert "params.`combine.mask_threshold`" in view["selectedColumns"]
