import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from bgexp.detect.backbone import FROZEN_BLOCKS
from bgexp.detect.demo import build_demo_model


@pytest.fixture(scope="module")
def model():
    return build_demo_model()


def test_parameter_names_are_mobilenets_own(model):
    body = model.backbone.body.state_dict()
    plain = mobilenet_v2(weights=None).state_dict()
    assert {f"features.{name}": value.shape for name, value in body.items()}.items() <= {
        name: value.shape for name, value in plain.items()
    }.items()
    norms = [name for name in body if name.endswith("running_var")]
    assert len(norms) == 51


def test_strides_of_the_pyramid(model):
    with torch.inference_mode():
        maps = model.backbone(torch.zeros(1, 3, 128, 192))
    shapes = [tuple(level.shape) for level in maps.values()]
    assert shapes == [(1, 128, 128 // s, 192 // s) for s in (8, 16, 32, 64)]


def test_first_blocks_and_all_norms_stay_as_they_are_in_training(model):
    frozen = {
        name for name, value in model.backbone.body.named_parameters() if not value.requires_grad
    }
    assert {int(name.partition(".")[0]) for name in frozen} == set(range(FROZEN_BLOCKS))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    n_trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert n_trained > 1_000_000


def test_the_image_size_is_that_of_the_longer_side(model):
    images, _ = model.transform([torch.zeros(3, 50, 100)])
    assert images.image_sizes == [(176, 352)]
