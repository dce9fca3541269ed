"""Training on composites and photographs together."""

import re
import shutil

import numpy as np
import pytest
import torch

from bgexp.errors import UserError
from bgexp.train.command import CHECKPOINT, train_network
from bgexp.train.loop import Trainer
from bgexp.train.mixed import MixedScenes
from bgexp.train.split import read_data, read_images

OBJECT = ("background", "object")


class NamedSource:
    """A source whose scenes are its name."""

    def __init__(self, name):
        self.name = name

    def draw(self, _size, _rng):
        return self.name


@pytest.fixture
def overrides(tmp_path, write, pairs):
    """Write composites' files and a set of photographs; give their overrides."""
    picture = np.full((32, 32, 4), 255, np.uint8)
    for name in ("cutouts", "backgrounds", "validation_cutouts", "validation_backgrounds"):
        image = picture if "cutouts" in name else picture[..., :3]
        write(tmp_path / name / "0.png", np.ascontiguousarray(image))
    folders = [f"dataset.{path.name}={path}" for path in sorted(tmp_path.iterdir())]
    for split in ("train", "validation"):
        shutil.copytree(pairs, tmp_path / "discs" / split)
    real = f"dataset.real.discs.root={tmp_path / 'discs'}"
    return ["dataset=mixed", *folders, real, "loop.validation_images=4"]


@pytest.fixture
def coarse_folder(pairs, tmp_path_factory):
    """Give a folder of coarse masks, which are the true ones."""
    folder = tmp_path_factory.mktemp("coarse")
    for split in ("train", "validation"):
        shutil.copytree(pairs / "masks", folder / split)
    return folder


def test_each_source_is_drawn_by_its_share():
    scenes = MixedScenes([NamedSource("a"), NamedSource("b"), NamedSource("c")], [2, 1, 1])
    drawn = [scenes.draw(64, np.random.default_rng((0, index))) for index in range(2000)]
    shares = [drawn.count(name) / 2000 for name in "abc"]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.04)


def test_the_share_of_photographs_is_divided_by_the_weights(settings_of, overrides, tmp_path):
    more = f"dataset.real.more.root={tmp_path / 'discs'}", "dataset.real.more.weight=2"
    shares = "dataset.real_share=0.3", "dataset.pasted_share=0.2"
    scenes = read_data(settings_of(*overrides, *more, *shares), None, OBJECT).scenes
    np.testing.assert_allclose(scenes.shares, [0.5, 0.2, 0.1, 0.2])
    np.testing.assert_allclose(scenes.sources[1].shares, [1 / 3, 2 / 3])


def test_a_mixed_scene_follows_from_seed_and_index(settings_of, overrides):
    settings = settings_of(*overrides)
    first, second = (read_data(settings, read_images(settings), OBJECT) for _ in range(2))
    np.testing.assert_allclose(first.scenes.shares, [0.55, 0, 0.45])
    for index in range(6):
        scene, same = (
            data.scenes.draw(64, np.random.default_rng((3, index))) for data in (first, second)
        )
        np.testing.assert_array_equal(scene.image, same.image)
        np.testing.assert_array_equal(scene.masks, same.masks)


def test_validation_has_as_many_of_each(settings_of, overrides):
    settings = settings_of(*overrides)
    data = read_data(settings, None, OBJECT)
    shapes = [scene.image.shape for scene in data.validation]
    assert shapes == [(64, 64, 3)] * 2 + [(64, 43, 3)] * 2
    ((dataset, scenes),) = data.truths
    assert (dataset.name, [id(scene) for scene in scenes]) == (
        "discs/validation",
        [id(scene) for scene in data.validation[2:]],
    )


def test_coarse_masks_follow_their_pictures(settings_of, overrides, coarse_folder):
    mask = coarse_folder / "train" / "0.png"
    mask.rename(mask.with_name("0.png.png"))  # as `bgexp run` names it
    settings = settings_of(*overrides, f"dataset.real.discs.coarse={coarse_folder}")
    data = read_data(settings, None, OBJECT)
    photographs = data.scenes.sources[2]
    drawn = [photographs.draw(64, np.random.default_rng(n)) for n in range(9)]
    for scene in [*data.validation[2:], *drawn]:
        np.testing.assert_array_equal(scene.coarse, scene.foreground)
    assert data.validation[0].coarse is None


def test_a_coarse_mask_of_another_size(settings_of, overrides, coarse_folder, write):
    for mask in (coarse_folder / "validation").iterdir():
        write(mask, np.full((20, 30), 255, np.uint8))
    settings = settings_of(*overrides, f"dataset.real.discs.coarse={coarse_folder}")
    message = r"^dataset\.real\.discs: \d\.png: its coarse mask has 30x20 pixels, .* image 64x96$"
    with pytest.raises(UserError, match=message):
        read_data(settings, None, OBJECT)


def test_a_coarse_mask_that_is_missing(settings_of, overrides, coarse_folder):
    (coarse_folder / "train" / "3.png").unlink()
    settings = settings_of(*overrides, f"dataset.real.discs.coarse={coarse_folder}")
    folder = re.escape(str(coarse_folder / "train"))
    with pytest.raises(
        UserError, match=rf"^dataset\.real\.discs\.coarse: no mask of 3\.png in {folder}$"
    ):
        read_data(settings, None, OBJECT)


def test_a_set_without_masks_is_named(settings_of, overrides, tmp_path):
    for mask in (tmp_path / "discs" / "train" / "masks").iterdir():
        mask.unlink()
    settings = settings_of(*overrides)
    with pytest.raises(UserError, match=r"^dataset\.real\.discs: masks: no images in "):
        read_data(settings, None, OBJECT)


def test_a_set_that_is_not_there_is_named(settings_of, overrides, tmp_path):
    shutil.rmtree(tmp_path / "discs" / "validation")
    settings = settings_of(*overrides)
    with pytest.raises(UserError, match=r"^dataset\.real\.discs: images: no such folder: "):
        read_data(settings, None, OBJECT)


def test_digests_tell_images_masks_and_coarse_masks_apart(settings_of, overrides, coarse_folder):
    def read_digests():
        settings = settings_of(*overrides, f"dataset.real.discs.coarse={coarse_folder}")
        return {data.name: data.digest for data in read_data(settings, None, OBJECT).datasets}

    digests = read_digests()
    train, validation = "discs/train", "discs/validation"
    assert digests.keys() == {train, f"{train}/coarse", validation, f"{validation}/coarse"}
    masks = coarse_folder / "train"
    shutil.copy(masks / "1.png", masks / "0.png")
    changed = read_digests()
    assert {name for name in digests if digests[name] != changed[name]} == {f"{train}/coarse"}


class StoppedError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("network", ["detector", "unet"])
def test_a_mixed_training_is_resumed_to_the_same_weights_and_names_its_sets(
    settings_of, overrides, coarse_folder, tmp_path, monkeypatch, network
):
    from mlflow import MlflowClient

    coarse = f"dataset.real.discs.coarse={coarse_folder}"
    small = f"runs_dir={tmp_path / 'runs'}", "loop.validation_images=2", "refine.size=64"
    settings = settings_of(*overrides, coarse, *small, f"network={network}")
    train_network(settings, tmp_path / "whole")

    update = Trainer.update

    def stop_at_third_step(trainer, *batch):
        if trainer.step == 3:  # the checkpoint is of the second step
            raise StoppedError
        return update(trainer, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", stop_at_third_step)
        with pytest.raises(StoppedError):
            train_network(settings, tmp_path / "resumed")
    path = tmp_path / "resumed" / CHECKPOINT
    assert torch.load(path, weights_only=True)["step"] == 2
    train_network(settings.replace(resume=True), tmp_path / "resumed")

    whole, resumed = (
        torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "resumed")
    )
    assert whole["step"] == resumed["step"] == 4
    for kind in ("model", "average"):
        assert whole[kind].keys() == resumed[kind].keys()
        assert [n for n, v in whole[kind].items() if not torch.equal(v, resumed[kind][n])] == []

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("bgexp")
    for run in client.search_runs([experiment.experiment_id]):
        logged = {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs}
        data = read_data(settings, None, OBJECT)
        assert logged == {dataset.name: dataset.digest[:32] for dataset in data.datasets}
