"""A batch as the benchmark runs it, at a tiny size: real workers, in which each scene is found."""

import json

import pytest

from tests.bench.batch import Plan, measure_batches
from tests.bench.present import format_batches

pytestmark = pytest.mark.bench
TINY = Plan(
    sizes=(0.2,),
    scenes=1,
    copies=2,
    batches=1,
    arithmetics=({"backend": "torch", "precision": "fp32"},),
    processes=(2,),
    network={"min_size": 512, "max_size": 704},
    detections=20,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    old = [{"megapixels": 1}, {"beside_s": 2, "megapixels": 99}]
    (folder / "bench.json").write_text(json.dumps({"schema_version": 1, "cases": old}))
    measure_batches(folder, TINY)
    return json.loads((folder / "bench.json").read_text())


def test_a_batch_is_measured_and_takes_the_place_of_an_earlier_one(results):
    older, batch, unrefined = results["cases"]
    assert older == {"megapixels": 1}
    assert (batch["megapixels"], batch["workers"]) == (0.2, 2)
    assert batch["photographs"] == {"ours": 2, "naive": 1}
    assert 0 < batch["beside_s"] < 2 * batch["ours_s"]
    assert (batch["refine"], unrefined["refine"]) == ("grabcut", "none")
    assert batch["stages_ms"]["refine"] > unrefined["stages_ms"]["refine"]
    assert batch["ratio"]["total"] == pytest.approx(batch["naive_s"] / batch["ours_s"])


def test_the_workers_found_what_the_scene_holds(results):
    # Of random weights' own predictions nothing would be left above the score threshold.
    assert results["cases"][1]["iou_vs_truth"]["ours"] > 0.8
    assert results["cases"][1]["iou_vs_naive"] > 0.8


def test_it_has_a_row_a_size(results):
    text = format_batches(results)
    assert text.count("| 0.2 MP |") == 2
    assert format_batches({"cases": results["cases"][:1]}) == ""


def test_one_process_is_measured_at_the_first_size_only():
    fp32, bf16 = {"precision": "fp32"}, {"precision": "bf16"}
    plan = Plan(sizes=(1, 4, 12), arithmetics=(fp32, bf16))
    refined = [(2, fp32, "grabcut"), (2, bf16, "grabcut")]
    unrefined = [(2, fp32, "none"), (2, bf16, "none")]
    assert plan.variants(1) == [(1, fp32, "grabcut"), *refined, *unrefined]
    assert plan.variants(4) == refined
    assert plan.variants(12) == [*refined, *unrefined]
