import math
import os
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric

from bgexp.config.train import TrainLoop
from bgexp.detect.demo import build_demo_model
from bgexp.errors import UserError
from bgexp.train import loop
from bgexp.train.loop import Examples, Trainer, train
from bgexp.train.tasks import make_detector_example


def make_settings(**changes):
    values = {
        "steps": 4,
        "batch_size": 1,
        "image_size": 64,
        "learning_rate": 1e-3,
        "backbone_share": 0.25,
        "weight_decay": 0.01,
        "ema_decay": 0.75,
        "validate_every": 2,
        "validation_images": 1,
        "validation_share": 0.2,
        "patience": None,
        "workers": 0,
    }
    return TrainLoop(**values | changes)


def make_trainer(model, **changes):
    return Trainer(model, make_settings(**changes), Fabric(accelerator="cpu", devices=1))


class LinearLoss(torch.nn.Linear):
    """A model whose loss is its weights times the picture's sum."""

    def __init__(self):
        super().__init__(1, 1)

    def forward(self, images, _targets):
        return {"loss_sum": self.weight.sum() * images[0].sum()}


class DiscScenes:
    """The same kind of scene for ever."""

    def __init__(self, scene):
        self.scene = scene

    def draw(self, size, rng):
        x, y = rng.integers(20, size - 20, 2)
        return self.scene((int(x), int(y), 16), size=(size, size), seed=int(x))


@pytest.fixture(scope="module")
def examples(scene):
    return Examples(DiscScenes(scene), make_detector_example, 64, seed=3)


@pytest.mark.parametrize(
    ("free", "workers"), [(10**10, 2), (8 * 2**20, 0), (5 * 4 * 512**2 * 24, 2)]
)
def test_loaders_have_room_for_their_batches(tmp_path, monkeypatch, capfd, free, workers):
    settings = make_settings(workers=2, batch_size=4, image_size=512)
    monkeypatch.setattr(loop.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert loop._count_loaders(settings, tmp_path) == workers
    told = capfd.readouterr().err
    assert ("MB free and pictures need 126: they are made in this" in told) == (not workers)
    assert loop._count_loaders(settings, tmp_path / "none") == 2
    assert loop._count_loaders(make_settings(workers=0), tmp_path) == 0


def do_nothing(*_):
    pass


def test_the_learning_rate_worked_by_hand():
    trainer = make_trainer(LinearLoss(), steps=100, learning_rate=2.0)
    # Warm-up over 4 steps; the cosine from there to step 100 is half-way at step 52.
    for step, share in [(0, 0.25), (1, 0.5), (2, 0.75), (3, 1), (4, 1), (52, 0.505), (100, 0.01)]:
        trainer.step = step
        assert trainer.compute_learning_rate() == pytest.approx(2.0 * share), step
    trainer.step = 28  # a quarter of the way: (1 + cos 45°) / 2
    assert trainer.compute_learning_rate() == pytest.approx(
        2.0 * (0.01 + 0.99 * (1 + 0.5**0.5) / 2)
    )


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_the_learning_rate_is_never_zero_and_never_over_its_maximum(steps):
    trainer = make_trainer(LinearLoss(), steps=steps)
    rates = []
    for trainer.step in range(steps):
        rates.append(trainer.compute_learning_rate())
    assert all(0 < rate <= 1e-3 for rate in rates)
    assert max(rates) == pytest.approx(1e-3)


def test_an_example_follows_from_seed_and_index_alone(scene, examples):
    same_seed = Examples(DiscScenes(scene), make_detector_example, 64, seed=3)
    other_seed = Examples(DiscScenes(scene), make_detector_example, 64, seed=4)
    assert torch.equal(examples[7][0], same_seed[7][0])
    assert not torch.equal(examples[7][0], examples[8][0])
    assert not torch.equal(examples[7][0], other_seed[7][0])


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_the_weights():
    trainer = make_trainer(LinearLoss())
    weight = trainer.model.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        trainer.update([torch.tensor([math.nan])], [{}])
    assert torch.equal(trainer.model.weight, weight)
    assert trainer.step == 0


def test_the_backbone_learns_at_a_quarter_of_the_rate_and_what_is_frozen_not_at_all():
    trainer = make_trainer(build_demo_model(64), steps=10)
    (backbone, rest) = trainer.optimizer.param_groups
    assert (backbone["share"], rest["share"]) == (0.25, 1.0)
    names = {id(weight): name for name, weight in trainer.model.module.named_parameters()}
    assert all("backbone.body." in names[id(weight)] for weight in backbone["params"])
    assert not any("backbone.body." in names[id(weight)] for weight in rest["params"])
    n_trained = sum(weight.requires_grad for weight in trainer.model.module.parameters())
    assert len(backbone["params"]) + len(rest["params"]) == n_trained


def test_a_backbone_without_a_share_stays_as_it_is():
    trainer = make_trainer(build_demo_model(64), steps=10, backbone_share=0.0)
    (rest,) = trainer.optimizer.param_groups
    assert rest["share"] == 1.0
    trained_names = {n for n, w in trainer.model.module.named_parameters() if w.requires_grad}
    assert not any("backbone.body." in name for name in trained_names)
    assert any("backbone.fpn." in name for name in trained_names)


# -- validation: the early stop and the best weights -------------------------------------------


class ScoredTraining:
    """A training whose validations give the scores of a list."""

    def __init__(self, examples, checkpoint, scores, **changes):
        defaults = {"steps": 12, "validate_every": 1, "patience": 2}
        self.trainer = make_trainer(LinearLoss(), **defaults | changes)
        self.scores, self.best = dict(enumerate(scores, 1)), []
        validate = self.trainer.settings.validate_every
        train(
            self.trainer,
            examples,
            checkpoint,
            do_nothing,
            lambda: self.scores[self.trainer.step // validate],
            lambda: self.best.append(self.trainer.step),
        )


SCORES = [0.3, 0.5, 0.4, 0.6, 0.6, 0.2, 0.9]


def test_training_ends_when_the_score_stood_still_and_keeps_the_best(examples, tmp_path):
    training = ScoredTraining(examples, tmp_path / "c.pt", SCORES)
    assert training.best == [1, 2, 4]  # an equal score is not a better one
    assert (training.trainer.step, training.trainer.best, training.trainer.stale) == (6, 0.6, 2)


def test_without_patience_training_goes_to_the_last_step(examples, tmp_path):
    training = ScoredTraining(examples, tmp_path / "c.pt", SCORES, steps=7, patience=None)
    assert training.best == [1, 2, 4, 7]
    assert (training.trainer.step, training.trainer.best, training.trainer.stale) == (7, 0.9, 0)


def test_the_last_step_is_validated_too(examples, tmp_path):
    training = ScoredTraining(examples, tmp_path / "c.pt", [0.1, 0.2], steps=5, validate_every=4)
    assert training.best == [4]
    assert training.trainer.step == 5


def test_a_resumed_training_knows_the_best_and_how_long_it_stood_still(examples, tmp_path):
    with pytest.raises(KeyError):  # killed while the score of step 6 was looked for
        ScoredTraining(examples, tmp_path / "c.pt", SCORES[:5])
    resumed = ScoredTraining(examples, tmp_path / "c.pt", SCORES)
    assert resumed.best == []
    assert (resumed.trainer.step, resumed.trainer.best, resumed.trainer.stale) == (6, 0.6, 2)
    ended = ScoredTraining(examples, tmp_path / "c.pt", [])  # nothing is left to do
    assert ended.trainer.step == 6


# -- the checkpoint ----------------------------------------------------------------------------


class RunsCode:
    """A pickle of it makes a folder where it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    torch.save({"step": RunsCode(tmp_path / "made")}, tmp_path / "c.pt")
    with pytest.raises(UserError, match="Weights only load failed"):
        make_trainer(LinearLoss()).load(tmp_path / "c.pt")
    assert not (tmp_path / "made").exists()
    torch.load(tmp_path / "c.pt", weights_only=False)
    assert (tmp_path / "made").exists()  # it would have


@pytest.mark.parametrize("change", [{}, {"model": None}, {"step": "x"}, {"rng": []}, {"best": {}}])
def test_a_checkpoint_that_is_another_is_one_line(tmp_path, change):
    trainer = make_trainer(LinearLoss())
    trainer.save(tmp_path / "c.pt")
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    torch.save(state | change if change else [1], tmp_path / "c.pt")
    with pytest.raises(UserError, match=r"c\.pt is no checkpoint of this training \("):
        trainer.load(tmp_path / "c.pt")


def test_what_is_no_checkpoint_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "c.pt")
    with pytest.raises(UserError, match="not a regular file"):
        make_trainer(LinearLoss()).load(tmp_path / "c.pt")


class ProcessKilledError(Exception):
    pass


def train_demo(examples, checkpoint, initial_seed=1, kill_at=0):
    """Train to the end; return the trainer and the last layer's bias after each step."""
    torch.manual_seed(initial_seed)
    trainer, biases = make_trainer(build_demo_model(64)), []
    bias = trainer.model.module.roi_heads.box_predictor.cls_score.bias

    def on_step(losses):
        assert {"loss_classifier", "loss_mask", "lr", "images_per_s"} <= losses.keys()
        biases.append(bias.detach().clone())
        if trainer.step == kill_at:
            raise ProcessKilledError

    def on_validation():
        return float(torch.rand(5)[0])  # draws numbers, as a model under test may

    train(trainer, examples, checkpoint, on_step, on_validation, do_nothing)
    return trainer, biases


@pytest.mark.slow
def test_a_killed_and_resumed_training_ends_with_the_same_weights(examples, tmp_path):
    uninterrupted, biases = train_demo(examples, tmp_path / "whole.pt")
    assert uninterrupted.step == len(biases) == 4
    path = tmp_path / "part.pt"
    with pytest.raises(ProcessKilledError):
        train_demo(
            examples, path, kill_at=3
        )  # the third step is lost: the checkpoint is of the second
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint.keys() == {"step", "best", "stale", "model", "average", "optimizer", "rng"}
    assert checkpoint["step"] == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["part.pt", "whole.pt"]
    resumed, later = train_demo(examples, path, initial_seed=2)
    assert len(later) == 2
    for kind in ("model", "average"):
        first_state, second_state = (
            getattr(trainer, kind).state_dict() for trainer in (uninterrupted, resumed)
        )
        assert first_state.keys() == second_state.keys()
        assert [
            name for name in first_state if not torch.equal(first_state[name], second_state[name])
        ] == []

    average = biases[0]  # the first update copies
    for count, step_bias in enumerate(biases[1:], 1):
        decay = min(0.75, (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * step_bias
    bias = uninterrupted.average.module.roi_heads.box_predictor.cls_score.bias
    torch.testing.assert_close(bias, average)
    assert not torch.equal(bias, biases[-1])
    assert not torch.equal(biases[0], biases[-1])
