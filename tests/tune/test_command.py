import json
import math

import pytest

from bgexp.compose import compose_config, plain
from bgexp.config import BatchSettings, TuneSettings, check_settings
from bgexp.tune.command import Tuning, fastest, fewest_of_the_fastest, tuned_config
from bgexp.tune.measure import Measured


def measured(ms, loss, **changes):
    return Measured(changes, ms, 1.0, 1 - loss, math.nan, loss - 0.001, at_worst=loss)


def test_the_fastest_that_loses_little_wins():
    found = [measured(100, 0), measured(80, 0.005), measured(60, 0.02), measured(90, -0.01)]
    assert fastest(found, 0.01) is found[1]
    assert fastest(found, 0.03) is found[2]
    assert fastest(found, 0.0) is found[3]
    assert fastest(found[2:3], 0.0) is found[2]  # nothing else is left


def test_more_processes_have_to_gain_something():
    assert fewest_of_the_fastest({1: 1.0, 2: 1.9}) == 2
    assert fewest_of_the_fastest({1: 1.0, 2: 1.02}) == 1
    assert fewest_of_the_fastest({1: 1.0, 2: 0.8}) == 1


def test_other_commands_take_the_config(tmp_path):
    settings = check_settings(TuneSettings, plain(compose_config("tune", [], None)))
    best = measured(50, 0.001, backend="openvino", precision="fp32", image_size=320)
    tuning = Tuning("CPU", 12, [best], best, {2: 9.0}, 2)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/tuned.yaml").write_text(tuned_config(settings, tuning))
    given = ["experiment=tuned", "input=/photographs", "output=/cut-outs"]
    config = plain(compose_config("batch", given, tmp_path))
    detector = check_settings(BatchSettings, config).detector
    assert (detector.backend, detector.precision) == ("openvino", "fp32")
    assert detector.image_size == 320
    assert detector.score_threshold == 0.5  # what was not tuned stays


@pytest.mark.slow
def test_the_command_line(bgexp_cli, tmp_path):
    given = "images=2", "refine=none", "tolerance=0.001", f"runs={tmp_path}"
    code, out, err = bgexp_cli("tune", *given)
    assert code == 0, err
    [folder] = (tmp_path / "tune").iterdir()
    found = json.loads((folder / "tune.json").read_text())
    assert found["images"] == 2
    assert found["best"]["at_worst"] <= 0.001
    precisions = [one["changes"].get("precision") for one in found["candidates"]]
    assert precisions[0] == "fp32"
    assert "int8" in precisions
    assert found["candidates"][0]["agreement"] == 1
    assert all(speed > 0 for speed in found["images_per_s"].values())
    assert "experiment=tuned" in out
    given = "--config-dir", str(folder), "experiment=tuned", "dataset.subset=1", f"runs={tmp_path}"
    code, _, err = bgexp_cli("run", *given)
    assert code == 0, err


def test_images_that_are_not_there(bgexp_cli, tmp_path):
    given = "dataset=folder", f"dataset.root={tmp_path}/none", f"runs={tmp_path}"
    code, _, err = bgexp_cli("tune", *given)
    assert code == 2
    [line] = err.splitlines()
    assert line.startswith("bgexp: dataset.root: ")
