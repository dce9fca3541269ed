"""The benchmark for GPUs at a tiny size, on the processor: one network, real workers."""

import json

import pytest

from tests.bench.gpu import Plan, format_row, measure

TINY = Plan(
    photographs={0.2: 5},
    arithmetics=({"backend": "torch", "precision": "fp32"},),
    refines=(),
    device="cpu",
    network={"min_size": 512, "max_size": 704},
    detections=20,
)


@pytest.mark.bench
def test_who_sets_the_pace_is_measured(tmp_path):
    measure(tmp_path, TINY)
    [case] = json.loads((tmp_path / "gpu.json").read_text())["cases"]
    assert case["images_per_s"] > 0
    assert 0 < case["network"]["busy"] <= 1
    assert 1 <= case["network"]["pictures_per_batch"] <= 2
    # Of random weights' own predictions nothing would be left above the score threshold.
    assert case["iou_vs_truth"] > 0.8
    assert format_row(case).startswith("| 0.2 MP | torch fp32 | none | ")
    assert "pace" in format_row(case)


def test_only_the_last_arithmetic_is_measured_with_refinement():
    fp32, bf16 = {"precision": "fp32"}, {"precision": "bf16"}
    variants = [(fp32, "none"), (bf16, "none"), (bf16, "grabcut"), (bf16, "unet")]
    assert Plan(arithmetics=(fp32, bf16)).variants() == variants
