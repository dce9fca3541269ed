from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.ops import FrozenBatchNorm2d

from bgexp.datasets.read import Dataset
from bgexp.detect.demo import WEIGHTS
from bgexp.detect.weights import read_state, save_state
from bgexp.errors import UserError
from bgexp.pipeline.unet import UNetModel
from bgexp.train.initial_weights import CLASS_HEADS, build_task, list_classes
from bgexp.train.split import read_images
from bgexp.train.tasks import DetectorTask, UNetTask

CPU = torch.device("cpu")
OBJECT = ("background", "object")


def state_of(task):
    return task.get_state(task.model)


def test_the_shipped_detector_is_where_fine_tuning_starts(settings_of):
    task = build_task(settings_of(), OBJECT, CPU)
    assert isinstance(task, DetectorTask)
    assert task.model.transform.max_size == 64  # loop.image_size
    shipped = read_state(WEIGHTS)
    assert all(torch.equal(value, shipped[name].float()) for name, value in state_of(task).items())


@pytest.mark.parametrize("network", ["detector", "unet"])
def test_imagenets_backbone_with_random_heads(settings_of, tmp_path, network):
    torch.manual_seed(1)
    imagenet = mobilenet_v2(weights=None).state_dict()
    torch.save(imagenet, tmp_path / "b.pth")
    overrides = f"network={network}", "init=backbone", f"backbone={tmp_path / 'b.pth'}"
    state = state_of(build_task(settings_of(*overrides), OBJECT, CPU))
    body = {name.partition("body.")[2]: v for name, v in state.items() if "body." in name}
    assert len(body) > 200
    assert all(torch.equal(value, imagenet[f"features.{name}"]) for name, value in body.items())


def test_imagenets_backbone_takes_the_place_of_the_one_in_the_weights(settings_of, tmp_path):
    torch.manual_seed(1)
    imagenet = mobilenet_v2(weights=None).state_dict()
    torch.save(imagenet, tmp_path / "b.pth")
    state = state_of(build_task(settings_of(f"backbone={tmp_path / 'b.pth'}"), OBJECT, CPU))
    shipped = read_state(WEIGHTS)
    for name, value in state.items():
        body = name.partition("body.")[2]
        expected = imagenet[f"features.{body}"] if body else shipped[name].float()
        assert torch.equal(value, expected), name


def test_a_unet_goes_on_from_its_weights(settings_of, tmp_path):
    torch.manual_seed(2)
    weights = {name: value.half().float() for name, value in UNetModel().state_dict().items()}
    save_state(weights, tmp_path / "n.safetensors", {})
    overrides = "network=unet", f"refine.weights={tmp_path / 'n.safetensors'}"
    task = build_task(settings_of(*overrides), OBJECT, CPU)
    assert isinstance(task, UNetTask)
    state = state_of(task)
    assert all(torch.equal(value, weights[name]) for name, value in state.items())


# -- torchvision's networks --------------------------------------------------------------------


@pytest.fixture(scope="module")
def task_of_three(settings_of, resnet):
    return build_task(settings_of(*resnet), ("background", "cat", "dog"), CPU)


def test_a_network_of_91_classes_keeps_all_but_its_heads(task_of_three, settings_of, resnet):
    weights = read_state(Path(settings_of(*resnet).detector.weights))
    heads = {name for name in state_of(task_of_three) if name.startswith(CLASS_HEADS)}
    assert len(heads) == 6
    for name, value in state_of(task_of_three).items():
        assert name in heads or torch.equal(value, weights[name].float()), name
    shapes = {
        name: value.shape[0] for name, value in state_of(task_of_three).items() if name in heads
    }
    assert shapes["roi_heads.box_predictor.cls_score.weight"] == 3
    assert shapes["roi_heads.mask_predictor.mask_fcn_logits.weight"] == 3


def test_its_norms_and_first_layers_do_not_learn(task_of_three):
    body = task_of_three.model.backbone.body
    frozen = {n.split(".")[0] for n, w in body.named_parameters() if not w.requires_grad}
    assert frozen == {"conv1", "layer1"}
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in task_of_three.model.modules())


def test_batch_norms_are_frozen_too(settings_of, resnet):
    overrides = "init=random", "detector.norm=batch_norm"
    task = build_task(settings_of(*resnet, *overrides), OBJECT, CPU)
    layers = list(task.model.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
    assert sum(isinstance(layer, FrozenBatchNorm2d) for layer in layers) == 53
    assert all(weight.requires_grad for weight in task.model.parameters())


# -- classes -----------------------------------------------------------------------------------


def test_all_is_one_class_unless_asked_for(settings_of, coco):
    settings = settings_of(*coco)
    assert list_classes(settings, read_images(settings)) == OBJECT


def test_the_classes_are_those_that_are_annotated(settings_of, coco):
    settings = settings_of(*coco, "classes=dataset")
    assert list_classes(settings, read_images(settings)) == ("background", "cat", "dog")


def test_pairs_and_composites_have_no_classes(settings_of):
    for overrides, dataset in [((), Dataset("pairs", ".", (), 0)), (("dataset=composites",), None)]:
        with pytest.raises(UserError, match="classes: dataset needs dataset=coco"):
            list_classes(settings_of(*overrides, "classes=dataset"), dataset)
