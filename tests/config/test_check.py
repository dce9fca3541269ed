import pytest

from bgexp.config.check import check_places, check_runs_folder, check_settings
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


def test_a_place_without_rights_is_told(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    settings = load(RunSettings, "run", "dataset=folder", f"dataset.root={tmp_path}")
    monkeypatch.setattr("pathlib.Path.stat", refuse)  # root may look everywhere
    with pytest.raises(UserError, match=rf"^dataset\.root: Permission denied: {tmp_path}$"):
        check_places(settings)


def test_a_runs_folder_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    check_runs_folder(tmp_path / "new" / "runs")
    (file := tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"^runs_dir: {file}/runs: {file} is no folder$"):
        check_runs_folder(file / "runs")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match=rf"/runs: {tmp_path} cannot be written to$"):
        check_runs_folder(tmp_path / "runs")
