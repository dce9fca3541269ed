"""`bgexp train` as a user has it: killed and resumed, gone wrong, each network, wrong use."""

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torchvision.models import resnet18

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.detectors import MaskRcnnResnet50Fpn
from bgexp.config.train import TrainSettings
from bgexp.detect.build import build_model, find_weights, list_class_names
from bgexp.detect.demo import WEIGHTS
from bgexp.detect.weights import load_weights, read_classes
from bgexp.train.command import _warn_of_truths
from bgexp.train.loop import Trainer
from bgexp.train.split import read_data, read_images

pytestmark = pytest.mark.slow


def find_runs(folder):
    """Return the tracked runs, oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bgexp")
    return client, client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])


def read_steps(client, run):
    return [metric.step for metric in client.get_metric_history(run.info.run_id, "loss_mask")]


@pytest.fixture(scope="module")
def finished_folder(run_cli, quick, tmp_path_factory):
    """Train without a stop; give the folder."""
    runs = tmp_path_factory.mktemp("whole")
    assert run_cli("train", *quick, f"runs_dir={runs}", f"hydra.run.dir={runs / 'a'}") == 0
    return runs / "a"


def test_a_training_is_tracked_with_all_that_belongs_to_it(finished_folder):
    client, (run,) = find_runs(finished_folder.parent)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train detector"
    assert run.data.params["loop.steps"] == "4"
    assert run.data.tags["bgexp.device_used"]
    assert run.data.metrics.keys() >= {"lr", "loss_mask", "validation_boundary_iou/0.7"}
    assert run.inputs.dataset_inputs[0].dataset.name == "pairs"
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert logged == {"validation-000002.jpg", "validation-000004.jpg", "weights.safetensors"}
    scores = {
        name: run.data.metrics[f"refined_iou/{name}"]
        + run.data.metrics[f"refined_boundary_iou/{name}"]
        for name in ("none", "guided", "grabcut", "unet")
    }
    assert run.data.tags["bgexp.refine"] == max(scores, key=scores.get)


def test_the_file_of_weights_says_what_it_is(finished_folder):
    with safe_open(finished_folder / "weights.safetensors", "pt") as file:
        card = file.metadata()
    assert json.loads(card["classes"]) == ["background", "object"]
    assert json.loads(card["settings"])["loop"]["steps"] == 4
    assert card["steps"] == "4"
    _, (run,) = find_runs(finished_folder.parent)
    assert card["run_id"] == run.info.run_id
    assert card["refine"] == run.data.tags["bgexp.refine"]


# -- kill -9 -----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from bgexp.cli import main as cli
from bgexp.train.loop import Trainer

def update(trainer, *batch, update=Trainer.update):
    if trainer.step == 3:  # the checkpoint is of the second step
        os.kill(os.getpid(), signal.SIGKILL)
    return update(trainer, *batch)

Trainer.update = update
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def resumed_folder(run_cli, quick, tmp_path_factory):
    """Kill the same training after its first checkpoint and resume it; give the folder."""
    runs = tmp_path_factory.mktemp("resumed")
    arguments = "train", *quick, f"runs_dir={runs}", f"hydra.run.dir={runs / 'a'}"
    command = [sys.executable, "-c", KILLED, *arguments]
    killed = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (runs / "a" / "weights.safetensors").exists()
    assert torch.load(runs / "a" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert run_cli(*arguments, "resume=true") == 0
    return runs / "a"


def test_a_killed_and_resumed_training_ends_as_one_that_nobody_stopped(
    finished_folder, resumed_folder
):
    first, second = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (finished_folder, resumed_folder)
    )
    assert first["step"] == second["step"] == 4
    assert first["best"] == second["best"]
    for kind in ("model", "average"):
        assert first[kind].keys() == second[kind].keys()
        assert [n for n, v in first[kind].items() if not torch.equal(v, second[kind][n])] == []
    with (
        safe_open(finished_folder / "weights.safetensors", "pt") as first_file,
        safe_open(resumed_folder / "weights.safetensors", "pt") as second_file,
    ):
        names = list(first_file.keys())
        assert all(torch.equal(first_file.get_tensor(n), second_file.get_tensor(n)) for n in names)


def test_the_store_knows_which_run_was_killed(resumed_folder):
    client, (killed, finished) = find_runs(resumed_folder.parent)
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    assert read_steps(client, finished) == [4]


def test_a_checkpoint_is_not_written_over(bgexp_cli, quick, finished_folder):
    checkpoint = (finished_folder / "checkpoint.pt").read_bytes()
    code, _, err = bgexp_cli(
        "train", *quick, f"runs_dir={finished_folder.parent}", f"hydra.run.dir={finished_folder}"
    )
    assert code == 2
    assert "checkpoint.pt exists: go on with resume=true, or choose another folder" in err
    assert len(err.splitlines()) == 1
    assert (finished_folder / "checkpoint.pt").read_bytes() == checkpoint


# -- numbers without end -----------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run(bgexp_cli, quick, tmp_path, monkeypatch):
    learning_rate = Trainer.compute_learning_rate
    monkeypatch.setattr(
        Trainer,
        "compute_learning_rate",
        lambda self: 1e30 if self.step == 2 else learning_rate(self),
    )
    arguments = f"runs_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'a'}"
    code, out, err = bgexp_cli("train", *quick, *arguments)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("bgexp: training stopped: the loss is ")
    assert f"last good checkpoint: {tmp_path / 'a' / 'checkpoint.pt'}" in line
    assert "loop.learning_rate" in line
    assert "Traceback" not in out
    _, (run,) = find_runs(tmp_path)
    assert run.info.status == "FAILED"
    checkpoint = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 2
    assert all(value.isfinite().all() for value in checkpoint["model"].values())
    assert not (tmp_path / "a" / "weights.safetensors").exists()


# -- other networks ----------------------------------------------------------------------------


def train_one_step(run_cli, folder, *overrides):
    folders = f"runs_dir={folder}", f"hydra.run.dir={folder / 'a'}"
    assert run_cli("train", *overrides, "loop.steps=1", *folders) == 0
    return folder / "a" / "weights.safetensors"


def make_resnet_settings(settings_of, resnet, weights):
    detector = settings_of(*resnet, f"detector.weights={weights}").detector
    assert isinstance(detector, MaskRcnnResnet50Fpn)
    return detector


def test_a_network_of_torchvisions_learns_what_an_object_is(
    run_cli, quick, resnet, settings_of, tmp_path
):
    weights = train_one_step(run_cli, tmp_path, *quick, *resnet)
    detector = make_resnet_settings(settings_of, resnet, weights)
    assert list_class_names(detector) is None
    model = build_model(detector, len(read_classes(weights)))
    load_weights(model, find_weights(detector))
    assert model.roi_heads.box_predictor.cls_score.out_features == 2
    assert model.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 2


def test_a_network_of_torchvisions_learns_the_datasets_classes(
    run_cli, small, coco, resnet, settings_of, tmp_path
):
    weights = train_one_step(run_cli, tmp_path, *small, *coco, *resnet, "classes=dataset")
    assert list_class_names(make_resnet_settings(settings_of, resnet, weights)) == (
        "background",
        "cat",
        "dog",
    )
    arguments = "device=cpu", "refine=none", f"runs_dir={tmp_path}"
    overrides = *coco, *resnet, f"detector.weights={weights}", "detector.labels=[dog]"
    assert run_cli("run", *arguments, *overrides) == 0


def test_mixed_precision_leaves_the_boxes_as_exact_as_they_are(run_cli, quick, tmp_path):
    assert run_cli("train", *quick, f"runs_dir={tmp_path}", "precision=bf16-mixed") == 0
    client, (run,) = find_runs(tmp_path)
    assert run.data.params["precision"] == "bf16-mixed"
    assert read_steps(client, run) == [4]


def test_the_unet_runs_by_the_command_that_is_told(bgexp_cli, quick, weights, tmp_path):
    overrides = "network=unet", "init=random", "refine.size=64", "loop.steps=2"
    folders = f"runs_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'a'}"
    code, out, _ = bgexp_cli("train", *quick, *overrides, *folders)
    assert code == 0
    assert read_classes(tmp_path / "a" / "weights.safetensors")
    next_line = next(line for line in out.splitlines() if line.startswith("Next:"))
    name, *arguments = shlex.split(next_line.removeprefix("Next:"))
    assert name == "bgexp"
    demo = f"detector.weights={weights}", "detector.image_size=64", "detector.score_threshold=0.5"
    code, _, err = bgexp_cli(*arguments, *demo, "dataset.subset=2", "device=cpu", folders[0])
    assert code == 0, err


# -- wrong use ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "resnet18.pth"
    torch.save(resnet18().state_dict(), path)
    return path


WRONG = [
    (["init=backbone"], "backbone: init=backbone needs a file here"),
    (["init=backbone", "backbone=/nosuch.pth"], "backbone: no such file: /nosuch.pth"),
    (["init=backbone", "backbone=OTHER"], "holds another network's weights"),
    (["init=backbone", "backbone=OTHER", "network=unet"], "holds another network's weights"),
    (["init=backbone", f"backbone={__file__}"], "backbone: "),
    (["classes=dataset"], "classes: dataset needs dataset=coco (got 'dataset'; allowed: object)"),
    (["COCO", "classes=dataset"], "classes: detector=demo knows one class"),
    (["dataset.subset=1"], "dataset: 1 images with masks are too few to train on"),
    (["network=unet", f"refine.weights={WEIGHTS}"], "refine.weights: "),
    (["network=unet", "refine.weights=/nosuch"], "refine.weights: no such file: /nosuch"),
    (["detector.weights=/nosuch"], "detector.weights: no such file: /nosuch"),
    (["dataset.images=/nosuch"], "dataset.images: no such folder: /nosuch"),
    (["loop.image_size=32"], "loop.image_size: "),
    (["loop.validation_share=1"], "loop.validation_share: "),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong_use(bgexp_cli, quick, small, coco, other_backbone, tmp_path, wrong, message):
    data = [*small, *coco] if "COCO" in wrong else quick
    overrides = [w.replace("OTHER", str(other_backbone)) for w in wrong if w != "COCO"]
    code, _, err = bgexp_cli("train", *data, *overrides, f"runs_dir={tmp_path / 'runs'}")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("bgexp: ")
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_inverted_truths_are_told_before_a_training_begins(inverted_pairs, capfd):
    words = [*inverted_pairs, "loop.validation_share=0.5", "device=cpu"]
    settings = check_settings(TrainSettings, resolve_config(compose_config("train", words, None)))
    dataset = read_images(settings)
    data = read_data(settings, dataset, ("background", "object"))
    _warn_of_truths(settings, data, torch.device("cpu"))
    line = " ".join(capfd.readouterr().err.split())
    assert line.startswith("Warning: The truths fit better inverted.")
    _warn_of_truths(settings.replace(init="random"), data, torch.device("cpu"))
    assert capfd.readouterr().err == ""  # nothing is known before it


def test_inverted_truths_of_one_of_several_sets_are_told_by_its_name(inverted_pairs, capfd):
    words = [*inverted_pairs, "loop.validation_share=0.5", "device=cpu"]
    settings = check_settings(TrainSettings, resolve_config(compose_config("train", words, None)))
    data = read_data(settings, read_images(settings), ("background", "object"))
    ((dataset, scenes),) = data.truths
    sets = ((replace(dataset, name="own/validation"), scenes), (dataset, []))
    _warn_of_truths(settings, replace(data, truths=sets), torch.device("cpu"))
    line = " ".join(capfd.readouterr().err.split())
    assert line.startswith("own/validation: Warning: The truths fit better inverted.")
