"""A run's folder: what is written is read back, what is not there is empty or one clear line."""

import math
import zipfile

import numpy as np
import pandas as pd
import pytest

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.images.decode import encode_mask
from bgexp.tracking.run_folder import CONFIG, MASKS, RunFolder, open_masks

MASK = np.eye(3, dtype=bool)


def test_what_is_not_there(tmp_path):
    folder = RunFolder(tmp_path / "none")
    assert (folder.read_summary(), folder.read_overrides(), folder.read_config()) == ({}, [], {})
    assert folder.read_rows().empty
    with pytest.raises(UserError, match=r"^its config\.yaml is gone \(.*none\)$"):
        folder.read_settings()
    with pytest.raises(FileNotFoundError):
        folder.open_masks()
    assert not folder.path.exists()


def test_what_was_written_is_read(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    config = resolve_config(compose_config("run", [], None))
    settings = check_settings(RunSettings, {k: v for k, v in config.items() if k != "sweep"})
    rows = pd.DataFrame({"path": ["käse.jpg"], "iou": [0.5]})
    folder.write_settings(settings)
    folder.write_overrides(["seed=1"])
    folder.write_rows(rows)
    folder.write_summary({"status": "finished", "images_per_s": math.nan})
    assert folder.read_settings() == settings
    assert folder.read_config() == settings.model_dump(mode="json")
    assert folder.read_overrides() == ["seed=1"]
    pd.testing.assert_frame_equal(folder.read_rows(), rows)
    assert folder.read_summary() == {"status": "finished", "images_per_s": None}


def test_settings_that_are_not_known_are_one_line(tmp_path):
    (tmp_path / CONFIG).write_text("seed: 1\nnonsense: 2\n")
    with pytest.raises(UserError, match=r"^config\.yaml: .*") as caught:
        RunFolder(tmp_path).read_settings()
    assert "\n" not in str(caught.value)
    assert RunFolder(tmp_path).read_config()["nonsense"] == 2


def test_masks_by_the_paths_of_their_images(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.create_masks() as archive:
        archive.add("a/ü.jpg", encode_mask(MASK))
        archive.add("same.jpg", encode_mask(MASK))
        archive.add("other.jpg", encode_mask(~MASK))
        assert not folder.has(MASKS)  # not before it is complete
    with open_masks([folder, folder]) as (first, second):
        np.testing.assert_array_equal(first.read("a/ü.jpg"), MASK)
        np.testing.assert_array_equal(second.read("other.jpg"), ~MASK)
        assert first.read_fingerprint("same.jpg") == second.read_fingerprint("a/ü.jpg")
        assert first.read_fingerprint("same.jpg") != first.read_fingerprint("other.jpg")
        with pytest.raises(KeyError):
            first.read("nowhere.jpg")


def test_masks_that_were_cut_off_leave_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(KeyError), folder.create_masks() as archive:
        archive.read("nowhere.jpg")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / MASKS).write_bytes(b"no zip file")
    with pytest.raises(zipfile.BadZipFile):
        folder.open_masks()
