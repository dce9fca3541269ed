import hashlib
import os
import shutil
from contextlib import nullcontext

import pandas as pd
import pytest

from bgexp.batch.command import batch_process_images, batch_process_with_quality_handling
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, plain
from bgexp.system.workers import preload


@pytest.fixture(scope="session", autouse=True)
def _imported():
    preload("bgexp.batch.process_file")


@pytest.fixture
def source(tmp_path, photographs):
    """Six small photographs in two categories, and one file of each kind that is no image."""
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
    """Settings of a quick batch, with changes as overrides."""

    def make(*overrides):
        given = [
            f"input={source}",
            f"output={tmp_path / 'out'}",
            f"runs_dir={tmp_path / 'runs'}",
            f"detector.weights={weights}",
            "detector.score_threshold=0.5",
            "detector.image_size=64",
            "refine=none",
            "device=cpu",
            "workers=2",
            *overrides,
        ]
        return check_settings(BatchSettings, plain(compose_config("batch", given, None)))

    return make


@pytest.fixture
def untracked(monkeypatch):
    """Batches without the tracking store, which takes seconds."""
    monkeypatch.setattr("bgexp.batch.command.outbox", lambda *_: nullcontext(lambda _: ""))


@pytest.fixture
def batch(settings, untracked):  # noqa: ARG001
    """Runs a batch with the quality rules on, as they are by default."""

    def run(*overrides):
        chosen = settings(*overrides)
        handled = chosen.quality.enabled
        run = batch_process_with_quality_handling if handled else batch_process_images
        return run(chosen)

    return run


def manifest(output):
    """The manifest's rows by path."""
    rows = pd.read_parquet(output / "manifest.parquet")
    assert rows["path"].is_unique
    return rows.set_index("path")


def tree(folder):
    """The SHA-256 of each file below a folder by its path, what the batch keeps for itself not."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] in ("regular", "outliers", "masks")
    }
