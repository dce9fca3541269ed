"""A run's folder: what is written is read back, what is not there is empty or one clear line."""

import math
import os

import numpy as np
import pandas as pd
import pytest

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.images.decode import ImageError, encode_mask
from bgexp.system.hashing import hash_file
from bgexp.tracking.run_folder import (
    ALPHAS,
    CONFIG,
    LOG,
    MASKS,
    OVERRIDES,
    PAGE,
    ROWS,
    SAMPLES,
    SUMMARY,
    RunFolder,
    open_masks,
)
from tests.run_folders import write_results

MASK = np.eye(3, dtype=bool)
ROW = {"path": ["käse.jpg"], "category": ["."], "sha256": ["0"], "status": ["ok"]}
READERS = {
    SUMMARY: RunFolder.read_summary,
    OVERRIDES: RunFolder.read_overrides,
    CONFIG: RunFolder.read_settings,
    ROWS: RunFolder.read_rows,
    MASKS: RunFolder.open_masks,
}


def test_what_is_not_there(tmp_path):
    folder = RunFolder(tmp_path / "none")
    assert (folder.read_summary(), folder.read_overrides(), folder.read_config()) == ({}, [], {})
    assert folder.read_rows().empty
    with pytest.raises(UserError, match=r"^its config\.yaml is gone \(.*none\)$"):
        folder.read_settings()
    with pytest.raises(UserError, match=r"masks\.zip: No such file or directory$"):
        folder.open_masks()
    assert not folder.path.exists()


def test_what_was_written_is_read(tmp_path):
    folder = RunFolder(tmp_path / "new" / "run")
    config = resolve_config(compose_config("run", [], None))
    settings = check_settings(RunSettings, {k: v for k, v in config.items() if k != "sweep"})
    rows = pd.DataFrame(ROW | {"iou": [0.5]})
    folder.write_settings(settings)
    folder.write_overrides(["seed=1"])
    folder.write_rows(rows)
    folder.write_summary({"status": "failed", "images_per_s": math.nan})
    assert folder.read_settings() == settings
    assert folder.read_config() == settings.model_dump(mode="json")
    assert folder.read_overrides() == ["seed=1"]
    pd.testing.assert_frame_equal(folder.read_rows(), rows)
    summary = folder.read_summary()
    hashes = {name: hash_file(folder.path / name) for name in (CONFIG, OVERRIDES, ROWS)}
    assert summary == {"status": "failed", "images_per_s": None, "files": hashes}


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
        with pytest.raises(
            ImageError, match=r"^There is no item named .nowhere\.jpg\.png. in the archive$"
        ):
            first.read("nowhere.jpg")


def test_masks_that_were_cut_off_leave_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(ImageError), folder.create_masks() as archive:
        archive.read("nowhere.jpg")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / MASKS).write_bytes(b"no zip file")
    with pytest.raises(UserError, match=r"masks\.zip is damaged: File is not a zip file$"):
        folder.open_masks()


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[1, {}]",
        b'"\xff"',
        b"NaN",
        b"9" * 5000,
        b"a: 2024-99-99",
        b"PAR1" + b"\xff" * 100 + b"PAR1",
        b"PK\5\6" + b"\xff" * 18,
    ],
    ids=lambda data: repr(data[:10]),
)
def test_what_is_damaged_is_one_line(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as caught:
        READERS[name](RunFolder(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_what_stands_in_the_place_of_a_file_is_one_line(tmp_path, name):
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / name)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / name).symlink_to("/dev/zero")
    (tmp_path / "folder" / name).mkdir(parents=True)
    for kind, reason in (("pipe", "not a reg"), ("link", "not a reg"), ("folder", "Is a direct")):
        with pytest.raises(UserError, match=reason):
            READERS[name](RunFolder(tmp_path / kind))


def test_settings_that_grow_by_aliases(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 6)]
    (tmp_path / CONFIG).write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"config\.yaml is damaged: an alias"):
        RunFolder(tmp_path).read_config()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"iou": [1.0]}, "it has no column category"),
        (ROW | {"path": [1]}, "its column path holds not only texts"),
        (ROW | {"status": [None]}, "its column status holds not only texts"),
        (ROW | {"iou": ["0.5"]}, "its column iou holds not only numbers"),
        (ROW | {"iou": [[0.5]]}, "its column iou holds not only numbers"),
    ],
)
def test_rows_of_other_columns(tmp_path, columns, reason):
    folder = RunFolder(tmp_path)
    folder.write_rows(pd.DataFrame(columns))
    with pytest.raises(UserError, match=rf"per_image\.parquet is damaged: {reason}$"):
        folder.read_rows()


@pytest.mark.parametrize("name", [LOG, CONFIG, OVERRIDES, ROWS, MASKS, PAGE, SUMMARY, SAMPLES, ""])
def test_what_stands_in_the_way_is_told_before_the_run(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    folder.refuse_obstacles()
    place = folder.path / name
    if name:
        folder.path.mkdir()
        folder.refuse_obstacles()
    if name in ("", SAMPLES):
        place.touch()
    else:
        place.mkdir()
    with pytest.raises(UserError, match=f"{place}: it is a (file|folder), in the place of a"):
        folder.refuse_obstacles()


@pytest.fixture
def whole(tmp_path):
    return write_results(tmp_path)


def test_whole_results(whole):
    assert whole.has_whole_results()
    (whole.path / PAGE).touch()
    assert whole.has_whole_results()


@pytest.mark.parametrize("name", [SUMMARY, ROWS, MASKS, ALPHAS])
def test_results_that_are_not_whole(whole, name):
    content = (whole.path / name).read_bytes()
    (whole.path / name).unlink()
    assert not whole.has_whole_results()
    (whole.path / name).write_bytes(content[: len(content) // 2])
    assert not whole.has_whole_results()


def test_results_with_other_masks(whole):
    with whole.create_masks() as archive:
        archive.add("käse.jpg", encode_mask(~MASK))
    assert not whole.has_whole_results()
    with whole.create_masks() as archive:
        archive.add("other.jpg", encode_mask(MASK))
    assert not whole.has_whole_results()


def test_results_with_other_rows(whole):
    rows = whole.read_rows()
    whole.write_rows(rows.assign(category="other"))
    assert not whole.has_whole_results()
    whole.write_rows(rows)
    assert whole.has_whole_results()


def test_results_without_hashes_are_not_known_to_be_whole(whole):
    whole.write_rows(pd.DataFrame(ROW))
    whole.write_summary(whole.read_summary())
    assert not whole.has_whole_results()
