"""Runs over the same images, over some of the same, and over others."""

import dataclasses

import pytest

from bgexp.compare.common_images import match_images
from bgexp.errors import UserError

IOUS = [0.7, 0.8, 0.9, 0.6]


def drop_images(job, *places):
    return dataclasses.replace(job, rows=job.rows.drop(index=list(places)))


def change_contents(job, place, digest):
    rows = job.rows.copy()
    rows.loc[place, "sha256"] = digest
    return dataclasses.replace(job, rows=rows)


def test_the_same_images_stay(job):
    common = match_images([job("a=1", IOUS), job("a=2", IOUS)])
    assert (common.n, common.n_changed, common.reduced) == (4, 0, "")
    assert [len(run.rows) for run in common.runs] == [4, 4]


def test_rows_in_another_order_are_brought_into_one(job):
    turned = job("a=2", IOUS)
    turned = dataclasses.replace(turned, rows=turned.rows[::-1])
    first, other = match_images([job("a=1", IOUS), turned]).runs
    assert list(first.rows["path"]) == list(other.rows["path"])
    assert list(other.rows["iou"]) == IOUS


def test_reduced_to_the_common_ones_and_said_so(job):
    common = match_images([job("a=1", IOUS), drop_images(job("a=2", IOUS), 1), job("a=3", IOUS)])
    assert common.n == 3
    assert common.reduced == "Compared on the 3 images that all have (a=1 has 4, a=3 has 4)."
    assert [list(run.rows["iou"]) for run in common.runs] == [[0.7, 0.9, 0.6]] * 3
    assert common.runs[0].summary["counts"] == {"total": 3, "ok": 3, "failed": 0}


def test_a_changed_image_is_another_image(job):
    common = match_images([job("a=1", IOUS), change_contents(job("a=2", IOUS), 2, "ff")])
    assert (common.n, common.n_changed) == (3, 1)
    assert "1 image under one path differs in contents" in common.reduced


def test_speed_is_that_of_the_common_images(job):
    slow = job("a=1", IOUS)
    slow.rows["ms.detect"] = [100.0, 9000.0, 200.0, 300.0]
    common = match_images([slow, drop_images(job("a=2", IOUS), 1)])
    assert common.runs[0].summary["images_per_s"] == pytest.approx(3 / 0.6)
    slow.summary["workers"] = 2
    common = match_images([slow, drop_images(job("a=2", IOUS), 1)])
    assert common.runs[0].summary["images_per_s"] == pytest.approx(2 * 3 / 0.6)


def test_nothing_in_common_is_refused(job):
    other = job("a=2", IOUS)
    other.rows["path"] = [f"x{path}" for path in other.rows["path"]]
    with pytest.raises(UserError, match=r"no image is common to all 2 runs .a=1: 4, a=2: 4.$"):
        match_images([job("a=1", IOUS), other])


def test_the_same_paths_with_other_contents_are_refused(job):
    other = job("a=2", IOUS)
    other.rows["sha256"] = "ff"
    with pytest.raises(UserError, match=r"4 paths in common, and under each .* differ in contents"):
        match_images([job("a=1", IOUS), other])


def test_another_truth_is_refused(job):
    def make_dataset_summary(digest, n_with_truth=4):
        return {"dataset": {"digest": digest, "n_with_truth": n_with_truth}}

    first, other = (
        job("a=1", IOUS, **make_dataset_summary("x")),
        job("a=2", IOUS, **make_dataset_summary("y")),
    )
    with pytest.raises(UserError, match="a=1 and a=2 have the same images with another truth"):
        match_images([first, other])
    assert match_images([first, job("a=2", IOUS, **make_dataset_summary("x"))]).n == 4
    assert (
        match_images([first, job("a=2", [None] * 4, **make_dataset_summary("y", 0))]).n == 4
    )  # it has none
