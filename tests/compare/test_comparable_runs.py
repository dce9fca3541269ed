"""Runs as variants of one result: what of them can be compared, and by which images."""

from dataclasses import replace

import pytest

from bgexp.compare import comparable_runs as contenders
from bgexp.compare.comparable_runs import find_comparable_runs, read_fingerprints
from bgexp.config.base import RunSelection, Tracking
from bgexp.errors import UserError
from bgexp.tracking.run_folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(two_runs):
    return RunSelection(runs_dir=two_runs, tracking=Tracking(), runs=("last",), filter=None)


def test_two_runs_and_their_images(settings):
    comparable = find_comparable_runs(settings)
    assert len(comparable.runs) == len(set(comparable.names.values())) == 2
    assert list(comparable.paths) == [item.path for item in comparable.dataset.items]
    assert len(comparable.paths) == 4
    assert (list(comparable.left_out), comparable.reduced) == ([], "")


def test_names_are_never_alike(settings):
    comparable = find_comparable_runs(settings)
    twins = replace(comparable, runs=[replace(run, name="twin") for run in comparable.runs])
    assert list(twins.names.values()) == [f"twin ({run.run_id[:8]})" for run in comparable.runs]


def test_masks_that_differ_have_other_fingerprints(settings):
    comparable = find_comparable_runs(settings)
    for marks in read_fingerprints(comparable).values():
        assert len(set(marks)) == 2
    same = replace(comparable, runs=[comparable.runs[0]] * 2)
    assert all(len(set(marks)) == 1 for marks in read_fingerprints(same).values())


def test_an_image_that_changed_or_failed_is_left_out(settings, monkeypatch):
    whole = find_comparable_runs(settings)
    first, second, *rest = whole.paths
    changed = replace(
        whole.dataset,
        items=tuple(
            replace(item, sha256="0" * 64) if item.path == first else item
            for item in whole.dataset.items
        ),
    )
    monkeypatch.setattr(contenders, "read_dataset", lambda *_: changed)
    assert list(find_comparable_runs(settings).paths) == [second, *rest]
    run, other = whole.runs
    failed = replace(other)
    rows = other.rows.copy()
    rows.loc[rows["path"] == second, "status"] = "failed"
    failed.__dict__["rows"] = rows
    monkeypatch.setattr(contenders, "find_runs", lambda *_: [run, failed])
    assert list(find_comparable_runs(settings).paths) == rest


def test_a_run_that_did_not_finish_is_left_out_and_named(settings, monkeypatch):
    runs = list(find_comparable_runs(settings).runs)
    broken = replace(runs[0], status="FAILED", name="broken")
    monkeypatch.setattr(contenders, "find_runs", lambda *_: [*runs, broken])
    comparable = find_comparable_runs(settings)
    assert len(comparable.runs) == 2
    [reason] = comparable.left_out
    assert reason.startswith("broken (")
    assert reason.endswith("is left out: it is failed, not finished")
    monkeypatch.setattr(contenders, "find_runs", lambda *_: [runs[1], broken])
    with pytest.raises(UserError, match=r"two finished runs are needed, not 1 \(.*broken \("):
        find_comparable_runs(settings)


def test_masks_that_are_gone(settings, monkeypatch, tmp_path):
    runs = list(find_comparable_runs(settings).runs)
    moved = replace(runs[0], folder=RunFolder(tmp_path))
    moved.__dict__["rows"] = runs[0].rows
    monkeypatch.setattr(contenders, "find_runs", lambda *_: [moved, runs[1]])
    with pytest.raises(UserError, match=r"its masks\.zip is gone"):
        find_comparable_runs(settings)
