import json
import math

import pytest

from bgexp.autotune.candidates import REFERENCE
from bgexp.autotune.command import (
    Tuning,
    choose_fastest,
    choose_worker_count,
    format_config,
    list_worker_counts,
)
from bgexp.autotune.measure import Measurement
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.base import TrackedSettings, Tracking
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.system.cores import count_available_cores
from bgexp.tracking.store import open_store


def make_measurement(ms, loss, **changes):
    return Measurement(changes, ms, 1.0, 1 - loss, math.nan, loss - 0.001, at_worst=loss)


def test_the_fastest_that_loses_little_wins():
    measurements = [
        make_measurement(100, 0),
        make_measurement(80, 0.005),
        make_measurement(60, 0.02),
        make_measurement(90, -0.01),
    ]
    assert choose_fastest(measurements, 0.01) is measurements[1]
    assert choose_fastest(measurements, 0.03) is measurements[2]
    assert choose_fastest(measurements, 0.0) is measurements[3]
    assert choose_fastest(measurements[2:3], 0.0) is measurements[2]  # nothing else is left
    assert (
        choose_fastest([make_measurement(100, 0), *measurements[3:], make_measurement(88, 0)], 0.0)
        is measurements[3]
    )
    assert (
        choose_fastest([make_measurement(90, 0), make_measurement(88, 0)], 0.0).ms == 90
    )  # that is noise


@pytest.mark.parametrize(
    ("cores", "tried"), [(1, [1]), (2, [1, 2]), (6, [1, 3, 6]), (64, [1, 16, 32, 64])]
)
def test_how_many_workers_are_tried(cores, tried):
    assert list_worker_counts(cores) == tried


def test_more_workers_have_to_gain_something():
    assert choose_worker_count({1: 1.0, 2: 1.9}) == 2
    assert choose_worker_count({1: 1.0, 2: 1.02}) == 1
    assert choose_worker_count({1: 1.0, 2: 0.8}) == 1


@pytest.mark.parametrize("workers", [3, None])
def test_other_commands_take_the_config(tmp_path, workers):
    best_count = workers or count_available_cores()
    settings = check_settings(
        AutotuneSettings, resolve_config(compose_config("autotune", [], None))
    )
    best = make_measurement(50, 0.001, backend="openvino", precision="fp32", image_size=320)
    tuning = Tuning("CPU", 12, [best], best, {best_count: 9.0}, best_count)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/tuned.yaml").write_text(format_config(settings, tuning))
    overrides = ["experiment=tuned", "input=/photographs", "output=/cut-outs"]
    config = resolve_config(compose_config("batch", overrides, tmp_path))
    detector = check_settings(BatchSettings, config).detector
    assert (detector.backend, detector.precision) == ("openvino", "fp32")
    assert detector.image_size == 320
    assert detector.score_threshold == 0.6  # what was not tuned stays
    assert check_settings(BatchSettings, config).workers == workers
    config = resolve_config(compose_config("run", ["experiment=tuned"], tmp_path))
    assert check_settings(RunSettings, config).workers == workers


@pytest.mark.slow
def test_the_command_line(bgexp_cli, tmp_path, monkeypatch, inverted_pairs):
    # OpenVINO's conversions take most of a minute; test_openvino.py makes them.
    monkeypatch.setattr("bgexp.autotune.command.list_arithmetics", lambda _device: [REFERENCE])
    overrides = "images=2", "refine=none", "tolerance=0.001", f"runs_dir={tmp_path}"
    code, out, err = bgexp_cli("autotune", *inverted_pairs, *overrides)
    assert code == 0, err
    assert "Warning: The truths fit better inverted." in " ".join(err.split())
    [folder] = (tmp_path / "autotune").iterdir()
    tuning = json.loads((folder / "autotune.json").read_text())
    assert tuning["images"] == 2
    assert tuning["best"]["at_worst"] <= 0.001
    changes = [candidate["changes"] for candidate in tuning["candidates"]]
    assert changes[0] == REFERENCE
    assert any("image_size" in change for change in changes)
    assert tuning["candidates"][0]["agreement"] == 1
    assert all(speed > 0 for speed in tuning["images_per_s"].values())
    assert "experiment=tuned" in out
    client, experiment = open_store(TrackedSettings(runs_dir=tmp_path, tracking=Tracking()))
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert run.data.tags["bgexp.command"] == "autotune"
    metrics = run.data.metrics
    assert metrics["best.ms"] == pytest.approx(tuning["best"]["ms"])
    assert metrics["agreement.torch_fp32"] == 1
    assert metrics["images_per_s.workers_1"] == pytest.approx(tuning["images_per_s"]["1"])
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert artifacts >= {"autotune.json", "experiment"}
    overrides = (
        "--config-dir",
        str(folder),
        "experiment=tuned",
        "dataset.subset=1",
        f"runs_dir={tmp_path}",
    )
    code, _, err = bgexp_cli("run", *overrides)
    assert code == 0, err


def test_images_that_are_not_there(bgexp_cli, tmp_path):
    overrides = "dataset=folder", f"dataset.root={tmp_path}/none", f"runs_dir={tmp_path}"
    code, _, err = bgexp_cli("autotune", *overrides)
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith("bgexp: dataset.root: ")
