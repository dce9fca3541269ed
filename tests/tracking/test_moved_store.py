"""A runs folder that is moved, renamed or copied, by names that mean something in an address."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from bgexp.cli.probe_store import check_store
from bgexp.config.base import Common, Tracking
from bgexp.config.load import load_settings
from bgexp.system.addresses import read_file_uri
from bgexp.tracking.active_run import open_run
from bgexp.tracking.moved_store import follow_files, mend_moves
from bgexp.tracking.past_runs import find_finished
from bgexp.tracking.run_folder import SUMMARY
from bgexp.tracking.store import open_store
from tests.run_folders import write_results

pytestmark = pytest.mark.slow


def make_settings(runs):
    return Common(runs_dir=runs, tracking=Tracking(), seed=0, device="cpu")


def add_run(runs):
    """A finished run with its files; returns its id."""
    folder = runs / "run" / "a#1"
    write_results(folder)
    with open_run(make_settings(runs), "run", "a run", folder) as run:
        run.set_tags({"bgexp.identity": "abc"})
        run.log_file(folder / SUMMARY)
        run.log_table({"path": ["a#1"]}, "table.json")
        return run.run_id


def read_artifacts(runs, run_id):
    """The names of a run's artifacts, which are read where the store says."""
    client, _ = open_store(make_settings(runs))
    place = read_file_uri(client.get_run(run_id).info.artifact_uri)
    assert place.is_relative_to(runs)
    assert place.is_dir()
    return {path.name for path in Path(client.download_artifacts(run_id, "")).iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A runs folder with a run, and the run's id."""
    runs = tmp_path_factory.mktemp("moved") / "my%20project" / "who? #1" / "runs"
    return runs, add_run(runs)


def test_a_store_is_where_its_name_says(made):
    runs, run_id = made
    assert (runs / "mlflow.db").is_file()
    assert read_artifacts(runs, run_id) == {SUMMARY, "table.json"}
    top = runs.parents[2]
    assert {path.name for path in top.rglob("mlflow.db")} == {"mlflow.db"}
    assert [path.name for path in top.iterdir()] == ["my%20project"]
    assert mend_moves(runs / "mlflow.db") == []


def test_a_moved_folder_works(made, tmp_path):
    runs, run_id = made
    copied = Path(shutil.copytree(runs, tmp_path / "runs"))
    old = (runs / "mlflow.db").read_bytes()
    moved = copied.rename(tmp_path / "archive 100% #2")
    settings = make_settings(moved)
    found = find_finished(settings, "abc")
    assert found is not None
    assert (found[0], found[1].path) == (run_id, moved / "run" / "a#1")
    assert read_artifacts(moved, run_id) == {SUMMARY, "table.json"}
    assert read_artifacts(moved, add_run(moved)) == {SUMMARY, "table.json"}
    assert not copied.exists()
    assert (runs / "mlflow.db").read_bytes() == old, "the original stays as it is"


def test_doctor_sees_and_mends_a_moved_folder(made, tmp_path):
    runs, _ = made
    moved = Path(shutil.copytree(runs, tmp_path / "moved"))
    settings = make_settings(moved)
    mended, *others = check_store(settings)
    assert mended.status == "ok"
    assert mended.detail == f"it was made in {runs}; its paths are mended"
    assert [finding.name for finding in others] == ["store", "runs"]
    assert [finding.name for finding in check_store(settings)] == ["store", "runs"]


def test_what_lies_elsewhere_keeps_its_place(made, tmp_path):
    runs, _ = made
    moved = Path(shutil.copytree(runs, tmp_path / "moved"))
    client, _ = open_store(make_settings(moved))
    places = [
        f"file://{tmp_path}/other",
        "s3://bucket/artifacts",
        f"{moved}2/a".replace("%", "%25"),
    ]
    ids = [client.create_experiment(f"e{n}", place) for n, place in enumerate(places)]
    again = moved.rename(tmp_path / "again")
    client, _ = open_store(make_settings(again))
    kept = [client.get_experiment(number).artifact_location for number in ids]
    assert kept[:2] == places[:2]
    assert kept[2].endswith("moved2/a")


def test_what_is_no_store_is_left_alone(tmp_path):
    database = tmp_path / "mlflow.db"
    assert mend_moves(database) == []
    assert not database.exists()
    database.write_bytes(b"no database" * 99)
    with pytest.raises(sqlite3.DatabaseError):
        mend_moves(database)


@pytest.mark.parametrize("old", ["runs", "/before/runs"])
def test_settings_name_files_of_the_folder_where_it_is_now(tmp_path, old):
    now = tmp_path / "archive"
    (now / "train").mkdir(parents=True)
    (now / "train" / "w.safetensors").touch()
    (elsewhere := tmp_path / "runs.safetensors").touch()
    settings = load_settings("run", [f"runs_dir={old}", "refine=unet"])

    def follow(weights):
        detector = settings.detector.replace(weights=Path(weights))
        refine = settings.refine.replace(weights=elsewhere)
        moved = follow_files(settings.replace(detector=detector, refine=refine), now)
        assert moved.refine.weights == elsewhere
        return str(moved.detector.weights)

    for place in ("runs", "/before/runs", "/a/runs/b/runs"):  # also where it was given otherwise
        assert follow(f"{place}/train/w.safetensors") == str(now / "train" / "w.safetensors")
    for gone in ("/before/train/w.safetensors", "runs/none.safetensors", "runs"):
        assert follow(gone) == gone
