"""A batch in parts: shares of several processes, united; what is missing is named."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from bgexp.batch import plan_folder, prepare
from bgexp.batch.command import batch_process_with_quality_handling
from bgexp.batch.output_folder import STATE, LocalLock
from bgexp.batch.part import find_open_parts
from bgexp.batch.plan_folder import read_plan
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.errors import UserError
from bgexp.system.folders import LocalFolder
from tests.batch.conftest import assert_accounted, manifest, tree

MEASURED = ["timings_ms", "memory"]


@pytest.fixture
def small_parts(monkeypatch):
    """Let a part have at most two files."""
    monkeypatch.setattr(prepare, "PART_FILES", 2)


@pytest.fixture
def expected(first_batch, tmp_path):  # noqa: ARG001
    """Return results and rows of the same batch in one part; its output is taken away."""
    output = tmp_path / "out"
    results = tree(output), manifest(output).drop(columns=MEASURED)
    shutil.rmtree(output)
    return results


def assert_same(output, expected):
    assert tree(output) == expected[0]
    pd.testing.assert_frame_equal(manifest(output).drop(columns=MEASURED), expected[1])


@pytest.mark.usefixtures("small_parts")
def test_many_parts_give_what_one_gives(batch, source, tmp_path, expected):
    batch("masks=false")
    assert_same(tmp_path / "out", expected)
    assert_accounted(source, tmp_path / "out")
    folder = read_plan(LocalFolder(tmp_path / "out"))
    assert folder.plan.n_parts == 5
    assert sum(folder.plan.n_images) == 5  # the cut one is known by its pixels alone


def test_shares_and_their_union_give_what_one_process_gives(batch, settings, tmp_path, expected):
    output = tmp_path / "out"
    first = batch_process_with_quality_handling(settings("part=1/2"))
    assert (first.summary, first.work.failed) == ({}, 0)
    assert not (output / "manifest.parquet").exists()
    with pytest.raises(UserError, match=r"^part: 1 of the plan's 2 parts are not done: 2; "):
        batch("part=unite")
    again = batch_process_with_quality_handling(settings("part=1/2"))
    assert again.work.newly_done == 0
    second = batch_process_with_quality_handling(settings("part=2/2"))
    assert first.work.newly_done + second.work.newly_done == 4
    summary = batch("part=unite").summary
    assert (summary["counts"]["done"], summary["reused"]) == (4, 0)
    assert summary["images_per_s"] == pytest.approx(4 / summary["seconds"])
    assert_same(output, expected)
    with pytest.raises(UserError, match="holds no begun batch of these settings"):
        batch("part=unite")


@pytest.mark.parametrize("part", ["0/3", "4/3", "1/0", "-1/3", "a/b", "1", "1/2/3", "all"])
def test_a_share_that_is_none_is_refused(settings, part):
    with pytest.raises(UserError, match=r"part: .*allowed: i/n with i from 1 to n.* or unite"):
        settings(f"part={part}")


def test_shares_of_other_settings_do_not_meet(batch):
    batch("part=1/3")
    with pytest.raises(UserError, match=r"cutout\.background was black, is white"):
        batch("part=2/3", "cutout.background=white")
    with pytest.raises(UserError, match="holds no begun batch of these settings"):
        batch("part=unite", "cutout.background=white")


def test_a_share_is_refused_while_a_batch_works_and_a_batch_while_a_share_does(batch, tmp_path):
    batch("part=1/3")
    with LocalLock(LocalFolder(tmp_path / "out")) as lock:
        assert lock.try_to_hold(alone=False)
        batch("part=2/3")
        for overrides in ((), ("part=unite",)):
            with pytest.raises(UserError, match="works there"):
                batch(*overrides)
        lock.hold_alone()
        with pytest.raises(UserError, match="works there"):
            batch("part=3/3")


@pytest.mark.usefixtures("small_parts")
def test_a_part_whose_result_is_gone_is_done_again(batch, settings, tmp_path, expected):
    output = tmp_path / "out"
    for number in (1, 2, 3):
        batch(f"part={number}/3")
    origin_of = settings()
    planned = PlannedBatch(origin_of, read_plan(LocalFolder(output)))
    assert find_open_parts(planned) == []
    next(output.glob("regular/**/duck.png")).unlink()
    assert len(find_open_parts(planned)) == 1
    with pytest.raises(UserError, match=r"^part: 1 of "):
        batch("part=unite")
    batch()
    assert_same(output, expected)


def test_a_changed_input_gets_a_new_plan_that_knows_the_results(batch, source, tmp_path):
    batch("part=1/2")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/regular/**/*.png")}
    assert before
    shutil.copy(source / "birds/duck.jpg", source / "birds/zoo.jpg")
    summary = batch().summary
    assert summary["counts"]["done"] == 5
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_accounted(source, tmp_path / "out")
    assert len(list((tmp_path / "out" / STATE).glob("*/"))) == 1


@pytest.mark.usefixtures("small_parts")
def test_a_damaged_part_of_the_plan_is_planned_again(batch, source, tmp_path):
    output = tmp_path / "out"
    batch("part=1/2")
    _, damaged, *_ = sorted((output / STATE).glob("*/*.plan.jsonl"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"plan\.jsonl is damaged: run .* without part="):
        batch("part=2/2")
    batch()
    assert_accounted(source, output)


def test_a_forged_plan_names_nothing_outside(batch, tmp_path):
    batch("part=1/2")
    folder = read_plan(LocalFolder(tmp_path / "out"))
    files = folder.read_part(0)
    for name in ("../mine", "/mine", ".bgexp/lock", "regular/../x"):
        forged = [replace(file, output=name) for file in files]
        data = plan_folder.encode_planned_files(forged)
        folder.output.write(folder.get_files(0), data)
        with pytest.raises(UserError, match="which is no result in this folder"):
            folder.read_part(0)


@pytest.mark.parametrize("text", [b"", b"x", b"{}", b'{"folder": "../.."}'])
def test_a_plan_that_is_none(tmp_path, text):
    folder = LocalFolder(tmp_path)
    folder.write(plan_folder.PLAN, text)
    assert read_plan(folder) is None
