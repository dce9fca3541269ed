"""What a training prints at its end."""

import json
import shlex

import pytest
import torch

from bgexp.detect.weights import save_state
from bgexp.errors import Interruption
from bgexp.train.command import CHECKPOINT
from bgexp.train.console import show_training

SCORES = [
    {"name": "none", "iou": 0.713, "boundary_iou": 0.5},
    {"name": "unet", "iou": 0.51, "boundary_iou": 0.41},
]


@pytest.fixture
def show(settings_of, tmp_path, capsys):
    """Give a function that shows a training whose best refinement is this; it returns the lines."""

    def run(refine, *overrides):
        weights = tmp_path / "my weights.safetensors"
        card = {"refine": refine, "refinements": json.dumps(SCORES)}
        save_state({"a": torch.zeros(1)}, weights, card)
        show_training(weights, settings_of(*overrides))
        return capsys.readouterr().out.splitlines(), str(weights)

    return run


def test_the_refinements_and_the_next_command_are_told(show):
    lines, weights = show("none")
    assert lines[1:3] == ["  none     0.713 / 0.500   (the best)", "  unet     0.510 / 0.410"]
    assert shlex.split(lines[-1].removeprefix("Next:")) == [
        *("bgexp", "run", "detector=demo", f"detector.weights={weights}", "refine=none"),
    ]


def test_the_unets_own_settings_are_told_with_it(show):
    lines, _ = show("unet", "refine.size=96")
    assert lines[-1].endswith("refine=unet refine.size=96")


def test_a_trained_unet_is_used_whatever_is_best(show):
    lines, weights = show("none", "network=unet")
    assert shlex.split(lines[-1])[3:] == ["refine=unet", f"refine.weights={weights}"]


def test_an_interrupted_training_says_how_to_go_on(bgexp_cli, quick, tmp_path, monkeypatch):
    folder = tmp_path / "it's mine"
    folder.mkdir()

    def interrupt(*_):
        raise Interruption(143)

    monkeypatch.setattr("bgexp.train.command.train_network", interrupt)
    places = f"hydra.run.dir={folder}", f"runs_dir={tmp_path}", "resume=false"
    assert bgexp_cli("train", *quick, *places)[:2] == (143, "")  # there is nothing to go on from
    (folder / CHECKPOINT).touch()
    code, out, _ = bgexp_cli("train", *quick, *places)
    assert code == 143
    words = shlex.split(out.removeprefix("Go on:"))
    assert words[:2] == ["bgexp", "train"]
    assert sorted(words[2:]) == sorted([*quick, "resume=true", *places[:2]])
