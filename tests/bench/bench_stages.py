"""Each stage alone, by pytest-benchmark; `make bench` runs it, `make test` does not collect it."""

import numpy as np
import pytest
import torch

from bgexp.detect.build import build_detector
from bgexp.detect.detections import Detections
from bgexp.images.decode import load_image
from bgexp.images.png import encode_png
from bgexp.metrics.performance import evaluate_performance
from bgexp.pipeline.combine import combine_detections
from bgexp.pipeline.cutout import cut_out
from bgexp.pipeline.refine import refine_mask
from tests.bench.contenders import REFINES, load_settings
from tests.bench.controlled import controlled_predictions, write_random_weights
from tests.bench.scenes import OBJECTS, make_scene

RESNET = "maskrcnn_resnet50_fpn"


@pytest.fixture(scope="module", params=[1, 4, 12], ids="{}MP".format)
def scene(request, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scenes"), request.param, seed=0)


@pytest.fixture(scope="module")
def image(scene):
    return load_image(scene.file)


@pytest.fixture(scope="module")
def detections(scene):
    """Make the detections that the networks are made to find."""
    return Detections(
        scene.boxes[:OBJECTS],
        np.ones(OBJECTS, np.int64),
        scene.scores[:OBJECTS],
        np.rint(scene.masks[:OBJECTS] * 255).astype(np.uint8),
        *scene.truth.shape,
    )


@pytest.fixture(scope="module")
def mask(detections):
    return combine_detections(detections).mask


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights") / "random.safetensors"
    settings = load_settings("detector", RESNET, weights=str(weights))
    write_random_weights(weights, settings)
    return build_detector(settings, torch.device("cpu"))


def test_decode(benchmark, scene):
    assert benchmark(load_image, scene.file).shape[:2] == scene.truth.shape


def test_detect_demo(benchmark, image):
    detector = build_detector(load_settings("detector", "demo"), torch.device("cpu"))
    assert benchmark(detector.detect, image).height == image.shape[0]


def test_detect_resnet50(benchmark, image, scene, resnet):
    with controlled_predictions() as control:
        control.scene = scene
        detections = benchmark.pedantic(resnet.detect, [image], rounds=3, warmup_rounds=1)
    assert len(detections) == OBJECTS


def test_combine(benchmark, detections):
    assert benchmark(combine_detections, detections).mask.any()


@pytest.mark.parametrize("name", [name for name in REFINES if name != "none"])
def test_refine(benchmark, image, mask, name):
    refined = benchmark(refine_mask, image, mask, load_settings("refine", name))
    assert (refined.mask != mask).any()


def test_cutout(benchmark, image, mask):
    assert benchmark(cut_out, image, mask).shape == image.shape


def test_encode(benchmark, image, mask):
    assert benchmark(encode_png, cut_out(image, mask)).startswith(b"\x89PNG")


def test_metrics(benchmark, scene, mask):
    assert benchmark(evaluate_performance, mask, scene.truth)["iou"] > 0.8
