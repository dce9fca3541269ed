"""What `bgexp train` is for: sixteen pairs teach the shipped detector a kind that it misses."""

import numpy as np
import pytest
import torch

from bgexp.config.detectors import Demo
from bgexp.detect.build import build_detector
from bgexp.metrics.overlap import iou
from bgexp.pipeline.combine import combine_detections

pytestmark = pytest.mark.slow

SIDE = 160


def draw_striped_ring(number):
    """Draw a ring that differs from its background by the stripes' direction: image and mask."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE]
    centre_y, centre_x = rng.uniform(0.35, 0.65, 2) * SIDE
    distance, radius = np.hypot(y - centre_y, x - centre_x), rng.uniform(0.2, 0.32) * SIDE
    mask = (distance < radius) & (distance > radius / 2)
    angle = rng.uniform(0, np.pi) + mask * np.pi / 2
    stripes = np.sign(np.sin(0.9 * (x * np.cos(angle) + y * np.sin(angle))))
    image = rng.uniform(80, 180, 3) + 50 * stripes[..., None] + rng.normal(0, 8, (SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def measure_mean_iou(weights):
    """Measure the mean IoU on eight rings that no training has seen."""
    settings = Demo(name="demo", weights=weights, score_threshold=0.7, labels=None, image_size=SIDE)
    detector = build_detector(settings, torch.device("cpu"))
    pairs = map(draw_striped_ring, range(100, 108))
    return np.mean([iou(combine_detections(detector.detect(i)).mask, mask) for i, mask in pairs])


@pytest.fixture(scope="module")
def tuned_weights(run_cli, write, tmp_path_factory):
    """Train 24 steps on sixteen rings; give the weights."""
    folder = tmp_path_factory.mktemp("rings")
    for number in range(16):
        image, mask = draw_striped_ring(number)
        write(folder / "images" / f"{number}.png", image)
        write(folder / "masks" / f"{number}.png", mask * np.uint8(255))
    overrides = [
        *(f"dataset.{kind}={folder / kind}" for kind in ("images", "masks")),
        "device=cpu",
        "loop.steps=24",
        "loop.batch_size=4",
        f"loop.image_size={SIDE}",
        "loop.validate_every=12",
        "loop.workers=0",
    ]
    folders = f"runs_dir={folder / 'runs'}", f"hydra.run.dir={folder / 'runs' / 'a'}"
    assert run_cli("train", *overrides, *folders) == 0
    return folder / "runs" / "a" / "weights.safetensors"


def test_a_few_pairs_of_a_new_kind_are_enough(tuned_weights):
    assert measure_mean_iou(tuned_weights) > measure_mean_iou(None) + 0.05
