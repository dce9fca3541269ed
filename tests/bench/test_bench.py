"""The benchmark's own promises, at a tiny size: what is found is known, and bench.json is whole."""

import json

import numpy as np
import pytest
import torch
from torchvision.models.detection.rpn import RegionProposalNetwork

from bgexp.detect.detections import Detections
from bgexp.metrics.overlap import iou
from bgexp.pipeline.combine import combine_detections
from tests.bench.cases import build_case, check_refined, check_same, check_work
from tests.bench.contenders import REFINES, Outcome, load_settings
from tests.bench.controlled import Control
from tests.bench.present import format_comparison, replace_block
from tests.bench.run import COMPARED, RESNET, Plan, measure
from tests.bench.scenes import OBJECTS, make_scene

pytestmark = pytest.mark.bench
PROPOSALS = 40
TINY = Plan(
    {0.05: 1},
    scenes=1,
    objects=(12,),
    arithmetics=(
        {"backend": "torch", "precision": "fp32"},
        {"backend": "openvino", "precision": "fp32"},
    ),
    shape=(1, 3, 128, 160),
    sample=(1, 1),
    network={"min_size": 128, "max_size": 160},
    detections=20,
    proposals=PROPOSALS,
    peaks=False,
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene"), 0.2, seed=1)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Measure everything at a tiny size; read the file back."""
    folder, threads = tmp_path_factory.mktemp("bench"), torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegionProposalNetwork, "post_nms_top_n", lambda _: PROPOSALS)
        measure(folder, TINY)
    torch.set_num_threads(threads)
    assert (folder / "bench.png").stat().st_size > 10_000
    return json.loads((folder / "bench.json").read_text())


def test_a_scene_is_the_same_each_time(scene, tmp_path):
    same_scene = make_scene(tmp_path, 0.2, seed=1)
    assert scene.file.read_bytes() == same_scene.file.read_bytes()
    for name in ("truth", "boxes", "scores", "masks"):
        np.testing.assert_array_equal(getattr(scene, name), getattr(same_scene, name))
    other_scene = make_scene(tmp_path, 0.2, seed=2)
    assert (scene.truth != other_scene.truth).any()


def test_seven_detections_are_the_objects_and_the_others_do_not_count(scene):
    assert scene.boxes.shape == (100, 4)
    assert (scene.scores > 0.5).sum() == OBJECTS
    assert (scene.scores > 0.05).all()
    assert (np.diff(scene.scores) <= 0).all()
    boxes = scene.boxes[:OBJECTS].astype(int)
    covered = np.zeros_like(scene.truth)
    for left, top, right, bottom in boxes:
        inside = scene.truth[top:bottom, left:right]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        covered[top:bottom, left:right] = True
    assert not (scene.truth & ~covered).any()


def test_the_masks_are_a_coarse_version_of_the_truth(scene):
    detections = Detections(
        scene.boxes[:OBJECTS],
        np.ones(OBJECTS, np.int64),
        scene.scores[:OBJECTS],
        np.rint(scene.masks[:OBJECTS] * 255).astype(np.uint8),
        *scene.truth.shape,
    )
    assert 0.8 < iou(combine_detections(detections).mask, scene.truth) < 0.97


def test_every_case_is_there_and_holds_numbers(results):
    assert {"machine", "versions", "matmul_gflops", "cases"} <= results.keys()
    assert results["matmul_gflops"]["fp32"] > results["matmul_gflops"]["bf16"] / 100 > 0
    keys = ("megapixels", "detector", "objects", "backend", "refine")
    case_keys = [tuple(case[key] for key in keys) for case in results["cases"]]
    resnet = [(0.05, RESNET, OBJECTS, "torch", refine) for refine in REFINES]
    resnet += [(0.05, RESNET, OBJECTS, "openvino", refine) for refine in COMPARED]
    resnet += [(0.05, RESNET, 12, "torch", refine) for refine in COMPARED]
    demo = [(1, "demo", None, "torch", refine) for refine in REFINES]
    assert case_keys == [*resnet, *demo, (1, "demo", None, "openvino", "none")]
    for case in results["cases"]:
        assert case["ours_spread_s"][0] <= case["ours_s"] <= case["ours_spread_s"][1]
        assert sum(case["stages_ms"].values()) > 0
        assert 0 < case["iou_vs_truth"]["ours"] <= 1


def test_the_naive_script_stands_beside_ours(results):
    compared = [case for case in results["cases"] if case["naive_s"] is not None]
    assert [case["refine"] for case in compared] == list(COMPARED) * 3
    for case in compared:
        ratio = case["ratio"]
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
        assert ratio["min"] <= ratio["total"] <= ratio["max"]
        assert case["iou_vs_naive"] > (0.999 if case["refine"] == "none" else 0.5)


def test_other_arithmetic_stands_beside_fp32(results):
    [exact, *_, compiled] = [case for case in results["cases"] if case["detector"] == "demo"]
    assert exact["vs_fp32"] == {"iou_mean": 1, "iou_min": 1, "same_detections": 1}
    assert compiled["vs_fp32"]["iou_mean"] > 0.99
    for dense, backend in zip(results["dense"], ("torch", "openvino"), strict=True):
        assert dense["backend"] == backend
        assert dense["gflop"] == pytest.approx(7.6, rel=0.2)  # 160x128 of what is 360 at 1088x800
        assert 0 < dense["share"] < 2


def test_the_document_gets_a_row_a_size_between_its_markers(results):
    text = replace_block(
        "before\n<!-- bench -->\nold\n<!-- /bench -->\nafter", format_comparison(results)
    )
    assert text.startswith("before\n<!-- bench -->\n| photograph")
    assert text.endswith("<!-- /bench -->\nafter")
    assert "old" not in text
    assert "| 0.05 MP |" in text
    with pytest.raises(ValueError, match="no <!-- bench -->"):
        replace_block("no markers", "")


# -- the checks themselves -------------------------------------------------------------------


def make_outcome(seconds, mask, boxes=None):
    boxes = np.zeros((OBJECTS, 4), np.float32) if boxes is None else boxes
    return Outcome(seconds, mask, mask, boxes, {"detect": 1000 * seconds})


def test_ratios_are_of_pairs_and_of_all_their_time(scene):
    full, half = np.ones_like(scene.truth), np.ones_like(scene.truth)
    half[:, : half.shape[1] // 2] = False
    rounds = [
        (
            scene,
            {
                ("torch fp32", "none"): make_outcome(ours, full),
                ("naive", "none"): make_outcome(naive, half),
            },
        )
        for ours, naive in ((1.0, 2.0), (2.0, 8.0), (4.0, 40.0))
    ]
    case = build_case(1, load_settings("detector", "demo"), "none", rounds)
    assert (case["ours_s"], case["naive_s"]) == (2.0, 8.0)
    assert case["ratio"] == {"total": 50 / 7, "median": 4.0, "min": 2.0, "max": 10.0}
    assert case["iou_vs_naive"] == pytest.approx(half.mean())
    assert case["stages_ms"] == {"detect": 2000.0}
    assert case["refine_adds"] == 0


def test_work_left_out_is_noticed(scene):
    control = Control()
    control.scene = scene
    control.proposals, control.mask_boxes = 1000, OBJECTS
    check_work("torch fp32", control, 1000)
    with pytest.raises(AssertionError, match="mask boxes"):
        check_work("naive", control, 1000)
    control.proposals = 999
    with pytest.raises(AssertionError, match="999"):
        check_work("torch fp32", control, 1000)


def test_other_detections_are_noticed(scene):
    good = make_outcome(1, scene.truth)
    check_same(scene, good, good)
    with pytest.raises(AssertionError, match="Not equal"):
        check_same(scene, good, make_outcome(1, scene.truth, np.ones((OBJECTS, 4), np.float32)))
    with pytest.raises(AssertionError, match="IoU of the unions"):
        check_same(scene, good, make_outcome(1, np.roll(scene.truth, 5, axis=1)))


def test_a_refused_refinement_is_noticed(scene):
    refused = make_outcome(1, scene.truth)
    check_refined(refused, "none")
    with pytest.raises(AssertionError, match="grabcut"):
        check_refined(refused, "grabcut")
