import math

import cv2
import numpy as np
import pytest
import torch

from bgexp.config import TrainLoop
from bgexp.detect.demo import build_demo_model
from bgexp.train.composites import Scene, Sources
from bgexp.train.loop import Composites, Trainer, collate, to_tensors, train

CPU = torch.device("cpu")


def loop(**changes):
    values = {
        "steps": 4,
        "batch_size": 1,
        "image_size": 64,
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "ema_decay": 0.75,
        "validate_every": 2,
        "validation_images": 1,
        "workers": 0,
    }
    return TrainLoop(**values | changes)


def small_trainer(**changes):
    return Trainer(torch.nn.Linear(1, 1), loop(**changes), CPU)


def test_the_learning_rate_worked_by_hand():
    trainer = small_trainer(steps=100, learning_rate=2.0)
    # Warm-up over 4 steps; the cosine from there to step 100 is half-way at step 52.
    for step, share in [(0, 0.25), (1, 0.5), (2, 0.75), (3, 1), (4, 1), (52, 0.505), (100, 0.01)]:
        trainer.step = step
        assert trainer.learning_rate() == pytest.approx(2.0 * share), step
    trainer.step = 28  # a quarter of the way: (1 + cos 45°) / 2
    assert trainer.learning_rate() == pytest.approx(2.0 * (0.01 + 0.99 * (1 + 0.5**0.5) / 2))


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_the_learning_rate_is_never_zero_and_never_over_its_maximum(steps):
    trainer = small_trainer(steps=steps)
    rates = []
    for trainer.step in range(steps):
        rates.append(trainer.learning_rate())
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert max(rates) == pytest.approx(1e-3)


def test_a_scene_as_torchvision_takes_it():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:3, 2:7], masks[1, 5, 0] = True, True
    image, target = to_tensors(Scene(np.full((6, 8, 3), 255, np.uint8), masks))
    assert (image.shape, float(image.max()), image.dtype) == ((3, 6, 8), 1.0, torch.float32)
    assert target["boxes"].tolist() == [[2, 1, 7, 3], [0, 5, 1, 6]]
    assert target["labels"].tolist() == [1, 1]
    assert (target["masks"].dtype, target["masks"].shape) == (torch.uint8, (2, 6, 8))


def test_a_scene_without_objects():
    nothing = Scene(np.zeros((6, 8, 3), np.uint8), np.zeros((0, 6, 8), bool))
    images, targets = collate([to_tensors(nothing)])
    assert len(images) == 1
    assert targets[0]["boxes"].shape == (0, 4)
    assert targets[0]["labels"].shape == (0,)


class Loses(torch.nn.Linear):
    """A model whose loss is whatever it is told."""

    def forward(self, images, _targets):
        return {"loss": self.weight.sum() * images[0].sum()}


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_the_weights():
    trainer = Trainer(Loses(1, 1), loop(), CPU)
    before = trainer.model.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        trainer.update([torch.tensor([math.nan])], [{}])
    assert torch.equal(trainer.model.weight, before)
    assert trainer.step == 0


# -- the real network ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Eight squares and noise."""
    folder, rng = tmp_path_factory.mktemp("training"), np.random.default_rng(0)
    for name, channels in (("cutouts", 4), ("backgrounds", 3)):
        (folder / name).mkdir()
        for number in range(4):
            picture = rng.integers(0, 256, (32, 32, channels), np.uint8)
            picture[..., 3:] = 255
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
    return Composites(Sources.from_folders(folder / "cutouts", folder / "backgrounds"), 64, seed=3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Several threads on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class KilledError(Exception):
    pass


def trained(dataset, checkpoint, initial_seed=1, kill_at=0):
    """Trains to the end; the model's weights and the last layer's bias after each step."""
    torch.manual_seed(initial_seed)
    trainer, biases = Trainer(build_demo_model(64), loop(), CPU), []
    bias = trainer.model.roi_heads.box_predictor.cls_score.bias

    def on_step(losses):
        assert {"loss_classifier", "loss_mask", "lr", "images_per_s"} <= losses.keys()
        biases.append(bias.detach().clone())
        if trainer.step == kill_at:
            raise KilledError

    def on_validation():
        torch.rand(5)  # draws numbers, as a model under test may

    train(trainer, dataset, checkpoint, on_step, on_validation)
    return trainer, biases


@pytest.mark.slow
def test_a_killed_and_resumed_training_ends_with_the_same_weights(dataset, tmp_path):
    whole, biases = trained(dataset, tmp_path / "whole.pt")
    assert whole.step == len(biases) == 4
    part = tmp_path / "part.pt"
    with pytest.raises(KilledError):
        trained(dataset, part, kill_at=3)  # the third step is lost: the checkpoint is of the second
    stored = torch.load(part, weights_only=True)
    assert stored.keys() == {"step", "model", "average", "optimizer", "rng"}
    assert stored["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.pt", "whole.pt"]
    resumed, later = trained(dataset, part, initial_seed=2)
    assert len(later) == 2
    for kind in ("model", "average"):
        one, other = (getattr(trainer, kind).state_dict() for trainer in (whole, resumed))
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []

    average = biases[0]  # the first update copies
    for bias in biases[1:]:
        average = 0.75 * average + 0.25 * bias
    found = whole.average.module.roi_heads.box_predictor.cls_score.bias
    torch.testing.assert_close(found, average)
    assert not torch.equal(found, biases[-1])
    assert not torch.equal(biases[0], biases[-1])
