"""`bgexp train` as a user has it: killed and resumed, gone wrong, each network, wrong use."""

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from torchvision.models import resnet18

from bgexp.config.detectors import MaskRcnnResnet50Fpn
from bgexp.detect.build import build_model, class_names, find_weights
from bgexp.detect.demo import WEIGHTS
from bgexp.detect.weights import load_weights, read_classes
from bgexp.train.loop import Trainer

pytestmark = pytest.mark.slow


def runs_of(folder):
    """The tracked runs, oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bgexp")
    return client, client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])


def steps_of(client, run):
    return [metric.step for metric in client.get_metric_history(run.info.run_id, "loss_mask")]


@pytest.fixture(scope="module")
def whole(run_cli, quick, tmp_path_factory):
    """The folder of a training that nobody stopped."""
    runs = tmp_path_factory.mktemp("whole")
    assert run_cli("train", *quick, f"runs_dir={runs}", f"hydra.run.dir={runs / 'a'}") == 0
    return runs / "a"


def test_a_training_is_tracked_with_all_that_belongs_to_it(whole):
    client, (run,) = runs_of(whole.parent)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train detector"
    assert run.data.params["loop.steps"] == "4"
    assert run.data.tags["bgexp.device_used"]
    assert run.data.metrics.keys() >= {"lr", "loss_mask", "validation_boundary_iou/0.7"}
    assert run.inputs.dataset_inputs[0].dataset.name == "pairs"
    logged = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert logged == {"validation-000002.jpg", "validation-000004.jpg", "weights.safetensors"}


def test_the_file_of_weights_says_what_it_is(whole):
    with safe_open(whole / "weights.safetensors", "pt") as stored:
        card = stored.metadata()
    assert json.loads(card["classes"]) == ["background", "object"]
    assert json.loads(card["settings"])["loop"]["steps"] == 4
    assert card["steps"] == "4"
    _, (run,) = runs_of(whole.parent)
    assert card["run_id"] == run.info.run_id


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
def resumed(run_cli, quick, tmp_path_factory):
    """The folder of the same training killed after its first checkpoint, and resumed."""
    runs = tmp_path_factory.mktemp("resumed")
    given = "train", *quick, f"runs_dir={runs}", f"hydra.run.dir={runs / 'a'}"
    command = [sys.executable, "-c", KILLED, *given]
    killed = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (runs / "a" / "weights.safetensors").exists()
    assert torch.load(runs / "a" / "checkpoint.pt", weights_only=True)["step"] == 2
    assert run_cli(*given, "resume=true") == 0
    return runs / "a"


def test_a_killed_and_resumed_training_ends_as_one_that_nobody_stopped(whole, resumed):
    one, other = (
        torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, resumed)
    )
    assert one["step"] == other["step"] == 4
    assert one["best"] == other["best"]
    for kind in ("model", "average"):
        assert one[kind].keys() == other[kind].keys()
        assert [n for n, value in one[kind].items() if not torch.equal(value, other[kind][n])] == []
    with (
        safe_open(whole / "weights.safetensors", "pt") as first,
        safe_open(resumed / "weights.safetensors", "pt") as second,
    ):
        assert all(torch.equal(first.get_tensor(n), second.get_tensor(n)) for n in first.keys())  # noqa: SIM118  # no mapping


def test_the_store_knows_which_run_was_killed(resumed):
    client, (killed, finished) = runs_of(resumed.parent)
    assert (killed.info.status, finished.info.status) == ("KILLED", "FINISHED")
    assert steps_of(client, finished) == [4]


def test_a_checkpoint_is_not_written_over(bgexp_cli, quick, whole):
    before = (whole / "checkpoint.pt").read_bytes()
    code, _, err = bgexp_cli("train", *quick, f"runs_dir={whole.parent}", f"hydra.run.dir={whole}")
    assert code == 2
    assert "checkpoint.pt exists: go on with resume=true, or choose another folder" in err
    assert len(err.splitlines()) == 1
    assert (whole / "checkpoint.pt").read_bytes() == before


# -- numbers without end -----------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run(bgexp_cli, quick, tmp_path, monkeypatch):
    usual = Trainer.learning_rate
    monkeypatch.setattr(
        Trainer, "learning_rate", lambda self: 1e30 if self.step == 2 else usual(self)
    )
    given = f"runs_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'a'}"
    code, out, err = bgexp_cli("train", *quick, *given)
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("bgexp: training stopped: the loss is ")
    assert f"last good checkpoint: {tmp_path / 'a' / 'checkpoint.pt'}" in line
    assert "loop.learning_rate" in line
    assert "Traceback" not in out
    _, (run,) = runs_of(tmp_path)
    assert run.info.status == "FAILED"
    kept = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 2
    assert all(value.isfinite().all() for value in kept["model"].values())
    assert not (tmp_path / "a" / "weights.safetensors").exists()


# -- other networks ----------------------------------------------------------------------------


def one_step(run_cli, folder, *given):
    where = f"runs_dir={folder}", f"hydra.run.dir={folder / 'a'}"
    assert run_cli("train", *given, "loop.steps=1", *where) == 0
    return folder / "a" / "weights.safetensors"


def resnet_of(settings_of, resnet, weights):
    detector = settings_of(*resnet, f"detector.weights={weights}").detector
    assert isinstance(detector, MaskRcnnResnet50Fpn)
    return detector


def test_a_network_of_torchvisions_learns_what_an_object_is(
    run_cli, quick, resnet, settings_of, tmp_path
):
    weights = one_step(run_cli, tmp_path, *quick, *resnet)
    detector = resnet_of(settings_of, resnet, weights)
    assert class_names(detector) is None
    model = build_model(detector, len(read_classes(weights)))
    load_weights(model, find_weights(detector))
    assert model.roi_heads.box_predictor.cls_score.out_features == 2
    assert model.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 2


def test_a_network_of_torchvisions_learns_the_datasets_classes(
    run_cli, small, coco, resnet, settings_of, tmp_path
):
    weights = one_step(run_cli, tmp_path, *small, *coco, *resnet, "classes=dataset")
    assert class_names(resnet_of(settings_of, resnet, weights)) == ("background", "cat", "dog")
    given = "device=cpu", "refine=none", f"runs_dir={tmp_path}"
    trained = *coco, *resnet, f"detector.weights={weights}", "detector.labels=[dog]"
    assert run_cli("run", *given, *trained) == 0


def test_mixed_precision_leaves_the_boxes_as_exact_as_they_are(run_cli, quick, tmp_path):
    assert run_cli("train", *quick, f"runs_dir={tmp_path}", "precision=bf16-mixed") == 0
    client, (run,) = runs_of(tmp_path)
    assert run.data.params["precision"] == "bf16-mixed"
    assert steps_of(client, run) == [4]


def test_the_refiner_runs_by_the_command_that_is_told(bgexp_cli, quick, weights, tmp_path):
    given = "network=refiner", "init=random", "refine.size=64", "loop.steps=2"
    where = f"runs_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'a'}"
    code, out, _ = bgexp_cli("train", *quick, *given, *where)
    assert code == 0
    assert read_classes(tmp_path / "a" / "weights.safetensors")
    told = next(line for line in out.splitlines() if line.startswith("Next:"))
    name, *arguments = shlex.split(told.removeprefix("Next:"))
    assert name == "bgexp"
    demo = f"detector.weights={weights}", "detector.image_size=64", "detector.score_threshold=0.5"
    code, _, err = bgexp_cli(*arguments, *demo, "dataset.subset=2", "device=cpu", where[0])
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
    (["init=backbone", "backbone=OTHER", "network=refiner"], "holds another network's weights"),
    (["init=backbone", f"backbone={__file__}"], "backbone: "),
    (["classes=dataset"], "classes: dataset needs dataset=coco (got 'dataset'; allowed: object)"),
    (["COCO", "classes=dataset"], "classes: detector=demo knows one class"),
    (["dataset.subset=1"], "dataset: 1 images with masks are too few to train on"),
    (["network=refiner", f"refine.weights={WEIGHTS}"], "refine.weights: "),
    (["network=refiner", "refine.weights=/nosuch"], "refine.weights: no such file: /nosuch"),
    (["detector.weights=/nosuch"], "detector.weights: no such file: /nosuch"),
    (["dataset.images=/nosuch"], "dataset.images: no such folder: /nosuch"),
    (["loop.image_size=32"], "loop.image_size: "),
    (["loop.validation_share=1"], "loop.validation_share: "),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong_use(bgexp_cli, quick, small, coco, other_backbone, tmp_path, wrong, message):
    data = [*small, *coco] if "COCO" in wrong else quick
    given = [w.replace("OTHER", str(other_backbone)) for w in wrong if w != "COCO"]
    code, _, err = bgexp_cli("train", *data, *given, f"runs_dir={tmp_path / 'runs'}")
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("bgexp: ")
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()
