from copy import deepcopy

import numpy as np
import pytest
import torch

from bgexp.config.stages import UNet
from bgexp.detect.backbone import FROZEN_BLOCKS
from bgexp.detect.device import CPU
from bgexp.detect.weights import save_state
from bgexp.errors import UserError
from bgexp.pipeline.refine import find_network, load_network
from bgexp.pipeline.unet import UNetModel, UNetPredictor


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = UNetModel()
    for name, value in network.named_buffers():  # norms that do something
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            value.uniform_(-0.3, 0.3)
    return network.eval()


def make_picture(height=64, width=96):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_half_the_size_comes_out(network):
    images, coarse = torch.rand(2, 3, 64, 96), torch.rand(2, 1, 64, 96)
    with torch.inference_mode():
        assert network(images, coarse).shape == (2, 1, 32, 48)


def test_each_picture_of_a_batch_is_its_own(network):
    images, coarse = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        batch = network(images, coarse)
        single = network(images[1:], coarse[1:])
    torch.testing.assert_close(batch[1:], single, atol=1e-5, rtol=1e-4)


def test_the_coarse_mask_counts(network):
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        logits = [network(images, torch.full((1, 1, 64, 64), share)) for share in (0.0, 1.0)]
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_the_predictor_computes_what_the_network_does(network):
    """Norms folded, channels last, uint8 in and probabilities out: the same function."""
    image, coarse = make_picture(), make_picture()[..., 0].copy()
    share = UNetPredictor(deepcopy(network), CPU).predict(image, coarse)
    with torch.inference_mode():
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        mask = torch.from_numpy(coarse)[None, None].float() / 255
        expected = network(tensor, mask).sigmoid()[0, 0].numpy()
    assert (share.shape, share.dtype) == ((32, 48), np.float32)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(share, expected, atol=1e-4)


def test_the_first_blocks_are_not_trained(network):
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert {int(name.split(".")[1]) for name in frozen} == set(range(FROZEN_BLOCKS))


# -- weights ---------------------------------------------------------------------------------


def test_the_shipped_weights_are_verified():
    assert len(find_network(UNet()).sha256) == 64
    load_network(UNet())


def test_a_file_of_ones_own(network, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_state(network.state_dict(), path, {})
    predictor = load_network(UNet(weights=path))
    assert predictor.predict(make_picture(), make_picture()[..., 0].copy()).shape == (32, 48)


@pytest.mark.parametrize("content", ["missing", "no weights", "another network"])
def test_a_file_that_cannot_be_used(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content == "no weights":
        path.write_bytes(b"no weights")
    elif content == "another network":
        save_state(torch.nn.Linear(2, 2).state_dict(), path, {})
    with pytest.raises(UserError, match=r"^refine\.weights: .*w\.safetensors"):
        load_network(UNet(weights=path))
