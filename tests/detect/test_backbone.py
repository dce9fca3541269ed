import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18, resnet50
from torchvision.ops import FrozenBatchNorm2d

from bgexp.detect.backbone import (
    FROZEN_BLOCKS,
    FoldedSequential,
    build_mobilenet_blocks,
    fold_norms,
    freeze_norms,
    load_imagenet,
)


def randomise_norms(network):
    """Randomise the norms of a network, so that they matter; return it in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | FrozenBatchNorm2d):
            for name, low in (("weight", 0.5), ("bias", -0.5), ("running_var", 0.2)):
                getattr(layer, name).data.uniform_(low, low + 1, generator=generator)
            layer.running_mean.uniform_(-0.3, 0.3, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return randomise_norms(mobilenet_v2(weights=None))


def test_the_folded_blocks_compute_what_torchvisions_mobilenet_does(plain):
    blocks = build_mobilenet_blocks(17)
    load_imagenet(blocks, plain.state_dict())
    x = y = torch.rand(2, 3, 96, 128)
    with torch.inference_mode():
        for ours, theirs in zip(blocks, plain.features[:18], strict=True):
            x, y = ours(x), theirs(y)
            assert y.std() > 0.01
            torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_gradients_reach_weights_through_the_fold():
    layers = FoldedSequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), FrozenBatchNorm2d(4))
    plain = nn.Sequential(*layers)
    layers[1].weight.uniform_(0.5, 2)
    image = torch.rand(1, 3, 8, 8)
    gradients = [
        torch.autograd.grad(m(image).square().sum(), layers[0].weight)[0] for m in (layers, plain)
    ]
    torch.testing.assert_close(*gradients)


def test_the_first_blocks_are_not_trained():
    is_trained = [
        any(weight.requires_grad for weight in block.parameters())
        for block in build_mobilenet_blocks(9)
    ]
    assert is_trained == [False] * FROZEN_BLOCKS + [True] * (10 - FROZEN_BLOCKS)


# -- weights of ImageNet -----------------------------------------------------------------------


def test_imagenets_weights_of_a_resnet_without_its_head():
    theirs, body = randomise_norms(resnet18()), resnet18(norm_layer=FrozenBatchNorm2d)
    del body.fc
    load_imagenet(body, theirs.state_dict())
    state = theirs.state_dict()
    assert all(torch.equal(state[name], value) for name, value in body.state_dict().items())


def test_imagenets_weights_of_another_network(plain):
    with pytest.raises(KeyError):
        load_imagenet(build_mobilenet_blocks(17), resnet18().state_dict())
    with pytest.raises(KeyError):
        load_imagenet(resnet18(), plain.state_dict())


def test_imagenets_weights_of_another_size():
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_imagenet(resnet18(), resnet50().state_dict())


# -- norms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d])
@pytest.mark.parametrize("bias", [False, True])
def test_folded_norms_compute_the_same_in_one_convolution(norm, bias):
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=bias),
        norm(4, eps=1e-3),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, groups=2, bias=bias), norm(4)),
    )
    randomise_norms(network)
    image = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        expected = network(image)
        fold_norms(network)
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(layer, norm) for layer in network.modules())


def test_a_whole_resnet_computes_the_same_with_its_norms_folded():
    torch.manual_seed(0)
    network, image = randomise_norms(resnet18()), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        fold_norms(network)
        torch.testing.assert_close(network(image), expected, rtol=1e-3, atol=1e-3)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


def test_a_norm_that_follows_no_convolution_stays():
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))
    fold_norms(network)
    assert isinstance(network[1], nn.BatchNorm2d)


def test_frozen_norms_compute_the_same_and_do_not_learn():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4, eps=0.1)))
    randomise_norms(network)
    image = torch.rand(2, 3, 8, 8)
    expected = network(image)
    freeze_norms(network)
    network.train()
    torch.testing.assert_close(network(image), expected)
    torch.testing.assert_close(network(image), expected)  # nor has it counted a batch
    assert [name for name, _ in network.named_parameters()] == ["0.weight", "0.bias"]
