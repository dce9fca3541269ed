"""Summaries that are read: what a run leaves passes, what it cannot have left is told."""

from copy import deepcopy

import pytest

from bgexp.tracking.summary import check_summary, flatten_numbers

FINISHED = {
    "schema_version": 1,
    "status": "finished",
    "run_id": "1" * 32,
    "bgexp": {"version": "1", "source_hash": "2", "git_commit": None, "git_dirty": True},
    "weights": {"name": "demo", "sha256": "3"},
    "dataset": {"name": "pairs", "root": "/data", "digest": "4", "n_images": 2},
    "counts": {"total": 2, "ok": 1, "failed": 1, "skipped": 0},
    "metrics": {"iou": {"mean": None, "n_scored": 1}},
    "images_per_s": None,
}


def test_what_a_run_leaves():
    assert check_summary(deepcopy(FINISHED)) == FINISHED
    failed = {"schema_version": 1, "command": "run", "status": "failed", "error": "no weights"}
    assert check_summary(failed) == failed


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ((), []),
        ((), "text"),
        (("status",), "done"),
        (("status",), ["finished"]),
        (("run_id",), None),
        (("bgexp",), None),
        (("bgexp", "version"), 7),
        (("dataset",), ["digest"]),
        (("dataset", "digest"), {"x": 1}),
        (("counts",), 3),
        (("counts", "failed"), 1e308),
        (("counts", "failed"), -1),
        (("counts", "ok"), 10**400),
        (("metrics",), [1]),
        (("metrics", "iou"), 0.5),
        (("metrics", "iou", "mean"), "0.5"),
        (("metrics", "iou", "mean"), float("inf")),
        (("images_per_s",), [2.0]),
        (("timings",), {"detect": None}),
        (("error",), {"text": 1}),
    ],
)
def test_what_no_run_leaves(place, value):
    summary = deepcopy(FINISHED)
    inner = summary
    for key in place[:-1]:
        inner = inner[key]
    if place:
        inner[place[-1]] = value
    with pytest.raises(ValueError, match=rf"^{'.'.join(place) or 'all'}[:.]"):
        check_summary(summary if place else value)


@pytest.mark.parametrize("key", ["run_id", "bgexp", "weights", "dataset", "counts", "images_per_s"])
def test_what_a_finished_run_has(key):
    with pytest.raises(ValueError, match=f"^{key} is missing$"):
        check_summary({name: value for name, value in FINISHED.items() if name != key})


def test_numbers():
    assert flatten_numbers({"a": {"b": 1, "c": None}}) == {"a.b": 1.0}
