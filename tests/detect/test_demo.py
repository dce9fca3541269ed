import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.ops import FrozenBatchNorm2d

from bgexp.backbone import FROZEN_BLOCKS, FoldedSequential, load_imagenet
from bgexp.detect.demo import BLOCKS, build_demo_model


@pytest.fixture(scope="module")
def model():
    return build_demo_model()


def imagenet_like():
    """A plain MobileNetV2 whose norms do something."""
    plain = mobilenet_v2(weights=None).eval()
    torch.manual_seed(0)
    for layer in plain.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for name, low in (("weight", 0.5), ("bias", -0.5), ("running_var", 0.2)):
                getattr(layer, name).data.uniform_(low, low + 1)
            layer.running_mean.uniform_(-0.3, 0.3)
    return plain


def test_the_folded_backbone_computes_what_torchvisions_mobilenet_does():
    plain, model = imagenet_like(), build_demo_model(96)
    load_imagenet(model.backbone.body, plain.state_dict())
    image = torch.rand(2, 3, 96, 128)
    with torch.inference_mode():
        found = list(model.backbone.body(image).values())
        expected, x = [], image
        for number, block in enumerate(plain.features[: max(BLOCKS) + 1]):
            x = block(x)
            if number in BLOCKS:
                expected.append(x)
    assert [tensor.shape[1] for tensor in found] == list(BLOCKS.values())
    for one, other in zip(found, expected, strict=True):
        assert other.std() > 0.01
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_gradients_reach_weights_through_the_fold():
    layers = FoldedSequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), FrozenBatchNorm2d(4))
    plain = nn.Sequential(*layers)
    layers[1].weight.uniform_(0.5, 2)
    image = torch.rand(1, 3, 8, 8)
    gradients = [
        torch.autograd.grad(m(image).square().sum(), layers[0].weight)[0] for m in (layers, plain)
    ]
    torch.testing.assert_close(*gradients)


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
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert trained > 1_000_000


def test_the_image_size_is_that_of_the_longer_side(model):
    images, _ = model.transform([torch.zeros(3, 50, 100)])
    assert images.image_sizes == [(192, 384)]
