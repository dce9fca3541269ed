import hashlib
import os
import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bgexp.batch.command import batch_process_images, batch_process_with_quality_handling
from bgexp.batch.output_folder import STATE
from bgexp.batch.plan_folder import PlanFolder, read_plan, use_plan
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.images.decode import load_image
from bgexp.system.atomic import TEMPORARY
from bgexp.system.folders import LocalFolder
from bgexp.system.hashing import hash_file
from bgexp.system.workers import end_preload, preload


@pytest.fixture(scope="session", autouse=True)
def _imported():
    preload("bgexp.batch.process_file")
    yield
    end_preload()  # else each of `make test-mutants` leaves one that goes on importing


@pytest.fixture
def source(tmp_path, photographs):
    """Make six small photographs in two categories, and one file of each kind of non-image."""
    folder = tmp_path / "in"
    for name in ("animals/cat.jpg", "birds/duck.jpg", "birds/owl.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photographs / name, folder / name)
    shutil.copy(photographs / "birds/owl.jpg", folder / "birds/owl.jpeg")  # the same stem
    (folder / "birds/cut.jpg").write_bytes((photographs / "birds/owl.jpg").read_bytes()[:9000])
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no image")
    (folder / "link.jpg").symlink_to(folder / "animals/cat.jpg")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.fixture
def settings(tmp_path, weights, source):
    """Return a function from overrides to the settings of a quick batch."""

    def make(*changes):
        arguments = [
            f"input={source}",
            f"output={tmp_path / 'out'}",
            f"runs_dir={tmp_path / 'runs'}",
            f"detector.weights={weights}",
            "detector.score_threshold=0.5",
            "detector.image_size=64",
            "refine=none",
            "device=cpu",
            "workers=2",
            *changes,
        ]
        return check_settings(
            BatchSettings, resolve_config(compose_config("batch", arguments, None))
        )

    return make


@pytest.fixture
def no_tracking(monkeypatch):
    """Leave out the tracking store, which takes seconds."""
    monkeypatch.setattr("bgexp.batch.command.open_outbox", lambda *_: nullcontext(lambda _: ""))


@pytest.fixture
def batch(settings, no_tracking):  # noqa: ARG001
    """Return a function that runs a batch with the quality rules on, as they are by default."""

    def run(*overrides):
        batch_settings = settings(*overrides)
        enabled = batch_settings.quality.enabled
        run = batch_process_with_quality_handling if enabled else batch_process_images
        return run(batch_settings)

    return run


@pytest.fixture(scope="session")
def _kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "out"


@pytest.fixture
def first_batch(batch, source, tmp_path, _kept):
    """Leaves the output of a first batch, which is run once and copied from then on.

    A plan names its input's place: that of a copy is written anew.
    """
    output = tmp_path / "out"
    if not _kept.exists():
        batch()
        shutil.copytree(output, _kept)
        return
    shutil.copytree(_kept, output)
    folder = read_plan(LocalFolder(output))
    origin = folder.plan.origin
    provenance = origin.provenance | {"input": os.path.realpath(source)}
    origin = replace(origin, provenance=provenance)
    use_plan(PlanFolder(folder.output, replace(folder.plan, origin=origin)))


def find_journal(output):
    """Return the journal of the only part of a batch's plan."""
    (journal,) = (output / STATE).glob("*/*.journal.jsonl")
    return journal


def manifest(output):
    """Return the manifest's rows by path."""
    rows = pd.read_parquet(output / "manifest.parquet")
    assert rows["path"].is_unique
    return rows.set_index("path")


def tree(folder):
    """Return the SHA-256 of each result file below a folder by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] in ("regular", "outliers", "masks")
    }


def assert_accounted(source, output):
    """Assert that every file has one row; that results decode, upright, with their hash."""
    rows = manifest(output)
    files = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    assert set(rows.index) == files
    done_rows = rows[rows["status"] == "done"]
    assert set(tree(output)) == set(done_rows["output"]) | set(done_rows["mask"]) - {""}
    for path, row in done_rows.iterrows():
        image = load_image(source / path)
        result = load_image(output / row["output"])
        assert result.shape == image.shape
        assert hash_file(output / row["output"]) == row["output_sha256"]
        assert hash_file(source / path) == row["input_sha256"]
        foreground = result.any(axis=2)
        assert np.array_equal(result[foreground], image[foreground])
        assert foreground.mean() == pytest.approx(row["coverage"], abs=0.02)
    assert (rows["reason"][rows["status"] != "done"] != "").all()
    assert not list(output.rglob(TEMPORARY))
    return rows
