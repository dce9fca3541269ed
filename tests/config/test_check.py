import pytest

from bgexp.config.check import check_places, check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.config.train import TrainSettings
from bgexp.errors import UserError


def load(kind, command, *overrides):
    return check_settings(kind, resolve_config(compose_config(command, overrides, None)))


def test_each_path_that_names_nothing_is_told(tmp_path):
    overrides = ["dataset=pairs", f"dataset.images={tmp_path}", f"dataset.masks={tmp_path}/masks"]
    overrides += [f"detector.weights={tmp_path}/w.safetensors", "refine=unet"]
    with pytest.raises(UserError) as raised:
        check_places(load(RunSettings, "run", *overrides))
    assert sorted(str(raised.value).splitlines()) == [
        f"dataset.masks: no such folder: {tmp_path}/masks",
        f"detector.weights: no such file: {tmp_path}/w.safetensors",
    ]


def test_sets_by_a_name_of_the_users_are_looked_for_too(tmp_path):
    real = "+dataset.real={mine:{root:/nowhere/mine,weight:1}}"
    with pytest.raises(
        UserError, match=r"^dataset\.real\.mine\.root: no such folder: /nowhere/mine$"
    ):
        check_places(load(TrainSettings, "train", "dataset=mixed", real, *_name_all(tmp_path)))


def _name_all(folder):
    names = ("cutouts", "backgrounds", "validation_cutouts", "validation_backgrounds")
    return [f"dataset.{name}={folder}" for name in names]


def test_what_ships_is_there():
    check_places(load(RunSettings, "run"))
