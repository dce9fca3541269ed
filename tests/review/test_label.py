"""`bgexp select`: images with masks to edit, which `dataset=pairs` reads back."""

import csv
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bgexp.compare.comparable_runs import find_comparable_runs
from bgexp.config.base import Tracking
from bgexp.config.datasets import Pairs
from bgexp.config.review import SelectSettings
from bgexp.datasets.read import read_dataset
from bgexp.errors import UserError
from bgexp.exchange.write_drafts import name_mask, refuse_used
from bgexp.images.decode import decode_mask, encode_mask, load_image
from bgexp.review.label import select_images
from bgexp.review.label_sampling import find_consensus
from bgexp.system.hashing import hash_file
from bgexp.tracking.run_folder import open_masks

pytestmark = pytest.mark.slow


def make_settings(two_runs, **changes):
    values = {"runs_dir": two_runs, "tracking": Tracking(), "runs": ["last"], "filter": None}
    values |= {"output": None, "n_images": 4, "initial_mask": "consensus", "seed": 0}
    return SelectSettings(**values | changes)


@pytest.fixture(scope="module")
def selection(two_runs, tmp_path_factory):
    output = tmp_path_factory.mktemp("select") / "out"
    select_settings = make_settings(two_runs, output=output)
    return select_images(select_settings, output.parent / "run"), find_comparable_runs(
        select_settings
    )


def read_pairs(folder):
    pair_settings = Pairs(name="pairs", images=folder / "images", masks=folder / "masks")
    return read_dataset(pair_settings, 0)


def test_what_is_written_reads_back_as_pairs(selection):
    (output, rows), comparable = selection
    originals = {item.path: item for item in comparable.dataset.items}
    for why in ("random", "disagreement"):
        paths = sorted(rows["path"][rows["why"] == why])
        dataset = read_pairs(output / why)
        assert [item.path for item in dataset.items] == paths
        assert len(paths) == 2
        assert dataset.n_with_truth == len(paths)
        for item in dataset.items:
            assert item.file.read_bytes() == originals[item.path].file.read_bytes()
            mask = decode_mask(item.mask.read_bytes())
            assert mask.shape == load_image(item.file).shape[:2]
            assert item.mask.read_bytes() == encode_mask(mask)  # 8 bits, one channel


def test_masks_start_as_the_consensus(selection):
    (output, rows), comparable = selection
    with open_masks(run.folder for run in comparable.runs) as archives:
        for row in rows.itertuples():
            file = output / row.why / "masks" / f"{row.path}.png"
            consensus = find_consensus(archive.read(row.path) for archive in archives)
            assert (decode_mask(file.read_bytes()) == consensus).all()
            assert hash_file(file) == row.initial_sha256


def test_the_table_says_why(selection):
    (output, rows), _ = selection
    with (output / "selection.csv").open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        "path",
        "category",
        "why",
        "initial_mask",
        "disagreement",
        "initial_sha256",
    ]
    assert [row["path"] for row in table] == list(rows["path"])
    assert {row["initial_mask"] for row in table} == {"consensus"}
    assert all(row["category"] == row["path"].rpartition("/")[0] for row in table)
    assert len((output / "README.txt").read_text().splitlines()) == 5


def test_blank_masks_and_the_same_random_half(two_runs, selection, tmp_path):
    select_settings = make_settings(two_runs, output=tmp_path / "out", initial_mask="blank")
    output, rows = select_images(select_settings, tmp_path / "run")
    pd.testing.assert_frame_equal(
        rows.drop(columns=["initial_mask", "initial_sha256"]),
        selection[0][1].drop(columns=["initial_mask", "initial_sha256"]),
    )
    for file in output.rglob("masks/**/*.png"):
        assert not decode_mask(file.read_bytes()).any()


def test_masks_that_were_edited_are_never_written_over(selection, two_runs):
    (output, rows), _ = selection
    mask_file = output / rows["why"][0] / "masks" / f"{rows['path'][0]}.png"
    data = mask_file.read_bytes()
    try:
        mask_file.write_bytes(encode_mask(np.ones_like(decode_mask(data))))
        assert hash_file(mask_file) != rows["initial_sha256"][0]
        edited_data = mask_file.read_bytes()
        with pytest.raises(
            UserError, match=r"^output: .* is not empty, and masks that were edited"
        ):
            select_images(make_settings(two_runs, output=output), output.parent / "again")
        assert mask_file.read_bytes() == edited_data
    finally:
        mask_file.write_bytes(data)


def test_where_it_may_write(tmp_path):
    refuse_used(tmp_path)
    refuse_used(tmp_path / "new")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="is not empty"):
            refuse_used(path)


def test_a_mask_of_an_odd_name_finds_its_image(tmp_path):
    names = ["a.jpg", "a.jpg.png", "=b.png", "with space.JPEG", "é%E9.tif", f"{'x' * 250}.jpg"]
    for folder, name_file in (("images", str), ("masks", name_mask)):
        for name in names:
            (tmp_path / folder / "c").mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name_file(f"c/{name}")).touch()
    dataset = read_pairs(tmp_path)
    assert {item.path for item in dataset.items} == {f"c/{name}" for name in names}
    assert all(item.mask.name == name_mask(item.file.name) for item in dataset.items)


def test_the_command_line(two_runs, tmp_path, run_cli, fast):
    runs_dir = f"runs_dir={two_runs}"
    process = subprocess.run(
        [sys.executable, "-m", "bgexp.cli.main", "select", "last", "n_images=4", runs_dir],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "2 images at random, 2 where the runs disagree" in process.stdout
    [next_line] = [line for line in process.stdout.splitlines() if line.startswith("Then:")]
    words = next_line.split()[2:]
    assert words[:2] == ["run", "dataset=pairs"]
    assert run_cli(*words, *fast, f"runs_dir={tmp_path / 'runs'}") == 0
    [summary] = (tmp_path / "runs" / "run").glob("*/summary.json")
    dataset = json.loads(summary.read_text())["dataset"]
    assert (dataset["n_images"], dataset["n_with_truth"]) == (2, 2)
