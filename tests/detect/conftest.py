"""A random but fixed state for each detector, with which it finds dozens of things in noise."""

from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.detection.rpn import RegionProposalNetwork

from bgexp.config.detectors import MaskRcnnResnet50Fpn
from bgexp.detect.demo import build_demo_model
from bgexp.detect.resnet50 import build_resnet50_model
from bgexp.detect.weights import save_state


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Use one thread: several on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def few_proposals(monkeypatch):
    """Limit proposals to 50 an image, not 1000: a twentieth of the work, for torchvision too."""
    monkeypatch.setattr(RegionProposalNetwork, "post_nms_top_n", lambda _: 50)


def fixed_state(model, class_scale, seed):
    """Make Kaiming weights; the last layers are damped so that scores spread and boxes stay large.

    Saturated masks would have pixels at exactly 0.5 halfway between a 0 and a 1.
    """
    generator, state = torch.Generator().manual_seed(seed), model.state_dict()
    for name, old in state.items():
        noise = torch.randn(old.shape, generator=generator)
        level = torch.rand(old.shape[:1], generator=generator)
        if name.endswith("running_var"):
            new = 0.75 + 0.5 * level
        elif name.endswith("running_mean"):
            new = 0.1 * noise
        elif old.ndim > 1:
            new = noise * (2 / old[0].numel()) ** 0.5
        elif name.replace("weight", "running_var") in state:
            new = 0.4 * level if "bn3" in name else 0.8 + 0.4 * level
        else:
            new = 0.05 * noise
        scales = {"cls_score": class_scale, "bbox_pred": 0.02, "mask_fcn_logits": 0.3}
        for part, scale in scales.items():
            new = new * scale if part in name else new
        state[name] = new
    return state


def noise_picture(height, width, seed=0):
    """Make clouds of colour, HxWx3 uint8."""
    clouds = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), np.uint8)
    return np.asarray(cv2.resize(clouds, (width, height)), np.uint8)


@pytest.fixture(scope="session")
def picture():
    return noise_picture


@pytest.fixture(scope="session")
def state_of():
    return fixed_state


@pytest.fixture(scope="session")
def demo_state():
    return fixed_state(build_demo_model(), class_scale=0.1, seed=3)


@pytest.fixture(scope="session")
def resnet_settings():
    return MaskRcnnResnet50Fpn(
        name="maskrcnn_resnet50_fpn",
        weights="nowhere.pth",
        score_threshold=0.2,
        labels=None,
        norm="frozen_batch_norm",
        norm_eps=0.0,
        min_size=160,
        max_size=320,
        detections_per_image=20,
    )


@pytest.fixture(scope="session")
def uninitialised():
    """Give a context in which layers are made without the seconds of drawing their weights."""

    @contextmanager
    def skip_initialisation():
        with pytest.MonkeyPatch.context() as patch:
            for name in ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_"):
                patch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
            yield

    return skip_initialisation


@pytest.fixture(scope="session")
def resnet_state(resnet_settings, uninitialised):
    with uninitialised():
        model = build_resnet50_model(resnet_settings)
    return fixed_state(model, class_scale=0.05, seed=0)


@pytest.fixture(scope="session")
def resnet_file(resnet_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("resnet50") / "random.safetensors"
    save_state(resnet_state, path, {})
    return path
