"""Runs over the same images, over some of the same, and over others."""

import dataclasses

import pytest

from bgexp.compare.common_images import match_images
from bgexp.errors import UserError

IOUS = [0.7, 0.8, 0.9, 0.6]


def without(job, *places):
    return dataclasses.replace(job, rows=job.rows.drop(index=list(places)))


def with_contents(job, place, digest):
    rows = job.rows.copy()
    rows.loc[place, "sha256"] = digest
    return dataclasses.replace(job, rows=rows)


def test_the_same_images_stay(job):
    found = match_images([job("a=1", IOUS), job("a=2", IOUS)])
    assert (found.n, found.n_changed, found.reduced) == (4, 0, "")
    assert [len(one.rows) for one in found.runs] == [4, 4]


def test_rows_in_another_order_are_brought_into_one(job):
    turned = job("a=2", IOUS)
    turned = dataclasses.replace(turned, rows=turned.rows[::-1])
    one, other = match_images([job("a=1", IOUS), turned]).runs
    assert list(one.rows["path"]) == list(other.rows["path"])
    assert list(other.rows["iou"]) == IOUS


def test_reduced_to_the_common_ones_and_said_so(job):
    found = match_images([job("a=1", IOUS), without(job("a=2", IOUS), 1), job("a=3", IOUS)])
    assert found.n == 3
    assert found.reduced == "Compared on the 3 images that all have (a=1 has 4, a=3 has 4)."
    assert [list(one.rows["iou"]) for one in found.runs] == [[0.7, 0.9, 0.6]] * 3
    assert found.runs[0].summary["counts"] == {"total": 3, "ok": 3, "failed": 0}


def test_a_changed_image_is_another_image(job):
    found = match_images([job("a=1", IOUS), with_contents(job("a=2", IOUS), 2, "ff")])
    assert (found.n, found.n_changed) == (3, 1)
    assert "1 image under one path differs in contents" in found.reduced


def test_speed_is_that_of_the_common_images(job):
    slow = job("a=1", IOUS)
    slow.rows["ms.detect"] = [100.0, 9000.0, 200.0, 300.0]
    found = match_images([slow, without(job("a=2", IOUS), 1)])
    assert found.runs[0].summary["images_per_s"] == pytest.approx(3 / 0.6)
    slow.summary["workers"] = 2
    found = match_images([slow, without(job("a=2", IOUS), 1)])
    assert found.runs[0].summary["images_per_s"] == pytest.approx(2 * 3 / 0.6)


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
    def of(digest, n_with_truth=4):
        return {"dataset": {"digest": digest, "n_with_truth": n_with_truth}}

    one, other = job("a=1", IOUS, **of("x")), job("a=2", IOUS, **of("y"))
    with pytest.raises(UserError, match="a=1 and a=2 have the same images with another truth"):
        match_images([one, other])
    assert match_images([one, job("a=2", IOUS, **of("x"))]).n == 4
    assert match_images([one, job("a=2", [None] * 4, **of("y", 0))]).n == 4  # it has none
