"""What the tests of training share: small settings, made pictures with masks, one thread."""

import json

import cv2
import numpy as np
import pytest
import torch

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.train import TrainSettings
from bgexp.detect.build import build_model
from bgexp.detect.weights import save_state
from bgexp.train.scene import Scene


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Use one thread: several on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_picture(path, picture):
    """Write a PNG of an RGB or grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture)


@pytest.fixture(scope="session")
def write():
    return write_picture


@pytest.fixture(scope="session")
def scene():
    """Give a function that makes a scene of discs of one colour each on noise."""

    def make(*discs, size=(96, 64), seed=0):
        image = np.random.default_rng(seed).integers(0, 60, (*size, 3), np.uint8)
        masks = np.zeros((len(discs), *size), np.uint8)
        for mask, (x, y, radius) in zip(masks, discs, strict=True):
            cv2.circle(mask, (x, y), radius, 1, cv2.FILLED)
            image[mask > 0] = (200, 40, 40)
        return Scene(image, masks.astype(bool), np.ones(len(discs), np.int64))

    return make


@pytest.fixture(scope="session")
def pairs(tmp_path_factory, scene):
    """Write five images with masks: a red disc on noise."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(5):
        disc = scene((32, 30 + 8 * number, 14), seed=number)
        write_picture(folder / "images" / f"{number}.png", disc.image)
        write_picture(folder / "masks" / f"{number}.png", disc.foreground * np.uint8(255))
    return folder


@pytest.fixture(scope="session")
def small():
    """Give overrides of a training of seconds, without its data."""
    return [
        "device=cpu",
        "loop.steps=4",
        "loop.batch_size=1",
        "loop.image_size=64",
        "loop.validate_every=2",
        "loop.validation_images=1",
        "loop.workers=0",
    ]


@pytest.fixture(scope="session")
def quick(pairs, small):
    """Give overrides of a training of seconds on pairs."""
    return [f"dataset.{kind}={pairs / kind}" for kind in ("images", "masks")] + small


@pytest.fixture(scope="session")
def settings_of(quick, small):
    """Give a function that checks the settings of a quick training with more overrides."""

    def compose(*overrides):
        base_overrides = small if "dataset=" in "".join(overrides) else quick
        config = compose_config("train", [*base_overrides, *overrides], None)
        return check_settings(TrainSettings, resolve_config(config))

    return compose


@pytest.fixture(scope="session")
def coco(tmp_path_factory, scene):
    """Write three images of a dog and a cat each, as COCO has them; give their overrides."""
    folder = tmp_path_factory.mktemp("coco")
    images, annotations = [], []
    for number in range(3):
        discs = scene((32, 24, 16), (32, 70, 16), seed=number)
        write_picture(folder / "images" / f"{number}.png", discs.image)
        images.append({"id": number, "file_name": f"{number}.png", "height": 96, "width": 64})
        for y, kind in ((8, 3), (54, 7)):
            corners = [16, y, 48, y, 48, y + 32, 16, y + 32]
            annotation = {"id": len(annotations), "image_id": number, "category_id": kind}
            annotations.append(annotation | {"segmentation": [corners], "iscrowd": 0})
    names = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}, {"id": 9, "name": "zebra"}]
    content = {"images": images, "annotations": annotations, "categories": names}
    (folder / "a.json").write_text(json.dumps(content))
    files = f"dataset.images={folder / 'images'}", f"dataset.annotations={folder / 'a.json'}"
    return ["dataset=coco", *files]


@pytest.fixture(scope="session")
def resnet(settings_of, tmp_path_factory):
    """Give overrides for the first Mask R-CNN with random weights of COCO's 91 classes."""
    path = tmp_path_factory.mktemp("resnet") / "random.safetensors"
    overrides = [
        "detector=maskrcnn_resnet50_fpn",
        f"detector.weights={path}",
        "detector.min_size=64",
        "detector.max_size=96",
        "detector.detections_per_image=5",
    ]
    torch.manual_seed(0)
    model = build_model(settings_of(*overrides).detector, 91)
    for name, value in model.state_dict().items():
        if name.endswith("bn3.weight"):  # else each block doubles what goes through
            value.fill_(0.1)
    save_state(model.state_dict(), path, {})
    return overrides
