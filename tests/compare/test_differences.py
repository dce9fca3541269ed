"""What differs between runs, by their config.yaml and summary."""

from types import SimpleNamespace

import pytest
import yaml

from bgexp.compare.differences import find_cautions, find_differing_settings
from bgexp.tracking.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    """A run by its settings and what its summary says."""
    count = iter(range(9))

    def make(settings=None, weights="aa" * 32, code="c1", device="a CPU"):
        folder = tmp_path / str(next(count))
        folder.mkdir()
        if settings is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        summary = {
            "weights": {"sha256": weights},
            "bgexp": {"source_hash": code},
            "device": {"name": device},
        }
        return SimpleNamespace(folder=RunFolder(folder), summary=summary)

    return make


def settings(threshold=0.5, refine=None, **extra):
    detector = {"name": "demo", "score_threshold": threshold, "score_floor": threshold}
    return {"seed": 0, "detector": detector, "refine": refine or {"name": "none"}, **extra}


def test_only_what_differs_and_matters(run):
    first = run(settings(runs_dir="/a", samples=3, dataset={"name": "sample", "subset": 4}))
    other = run(settings(0.7, runs_dir="/b", samples=6, dataset={"name": "sample", "subset": 8}))
    assert find_differing_settings([first, other]) == [
        ["detector.score_threshold=0.5"],
        ["detector.score_threshold=0.7"],
    ]


def test_settings_of_other_stages_of_the_same_kind(run):
    grabcut = {"name": "grabcut", "size": 192, "iterations": 3}
    none, network = run(settings()), run(settings(refine={"name": "unet", "size": 288}))
    three = run(settings(refine=grabcut))
    assert find_differing_settings([none, network, three]) == [
        ["refine=none"],
        ["refine=unet"],
        ["refine=grabcut"],
    ]
    five = run(settings(refine={**grabcut, "iterations": 5}))
    assert find_differing_settings([none, three, five]) == [
        ["refine=none"],
        ["refine=grabcut", "refine.iterations=3"],
        ["refine=grabcut", "refine.iterations=5"],
    ]


def test_weights_are_told_apart_by_their_hash(run):
    assert find_differing_settings([run(settings()), run(settings(), weights="bb" * 32)]) == [
        ["detector.weights=aaaaaaaa"],
        ["detector.weights=bbbbbbbb"],
    ]


def test_what_else_may_be_taken_for_an_effect(run):
    assert find_cautions([run(), run()]) == []
    [code, device] = find_cautions([run(), run(code="c2", device="a GPU")])
    assert "different versions of bgexp's code" in code
    assert device.endswith("different devices: a CPU, a GPU")


def test_a_run_without_settings_is_no_obstacle(run):
    assert find_differing_settings([run(), run()]) == [[], []]
