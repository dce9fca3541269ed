"""Outcomes to the cases of bench.json, and the promises that have to hold for them to count."""

from statistics import median

import numpy as np
import torch

from bgexp.metrics import iou
from tests.bench.scenes import OBJECTS

SAME_UNION = 0.999  # IoU of the two unrefined masks: rounding at the edge, no more


def check_work(side, control, proposals):
    """The box head saw all proposals, the mask head the boxes above the side's score threshold."""
    expected = proposals, OBJECTS if side == "ours" else len(control.scene.boxes)
    if (control.proposals, control.mask_boxes) != expected:
        got = control.proposals, control.mask_boxes
        raise AssertionError(f"{side}: (proposals, mask boxes) {got}, expected {expected}")


def check_same(ours, naive):
    """Both found the same objects and pasted the same union."""
    np.testing.assert_allclose(ours.boxes, naive.boxes, atol=0.01)  # pixels
    if len(ours.boxes) != OBJECTS or iou(ours.unrefined, naive.unrefined) <= SAME_UNION:
        raise AssertionError(f"IoU of the unions is {iou(ours.unrefined, naive.unrefined):.5f}")


def check_refined(outcome, refine):
    """A refinement that was refused would look fast."""
    if (refine == "none") != np.array_equal(outcome.mask, outcome.unrefined):
        raise AssertionError(f"{refine}: refined where it should not be, or not where it should")


def build_case(megapixels, detector, refine, rounds, peaks=None):
    """One case: medians over rounds, the ratio of all their time, and that of each round's pair.

    Args:
        megapixels: Of the pictures.
        detector: Its name in the settings.
        refine: The refinement's name.
        rounds: A list of (scene, outcomes by (side, refine)).
        peaks: Peak bytes by side, where measured.
    """
    scenes = [scene for scene, _ in rounds]
    ours = [outcomes["ours", refine] for _, outcomes in rounds]
    plain = [outcomes["ours", "none"] for _, outcomes in rounds]
    naive = [o["naive", refine] for _, o in rounds if ("naive", refine) in o]
    seconds = {"ours": [o.seconds for o in ours], "naive": [n.seconds for n in naive]}
    return {
        "megapixels": megapixels,
        "detector": detector,
        "predictions": "controlled" if len(scenes[0].boxes) else "own",
        "backend": "eager",
        "precision": "fp32",
        "refine": refine,
        "processes": 1,
        "threads": torch.get_num_threads(),
        "rounds": len(rounds),
        "ours_s": _median(seconds["ours"]),
        "ours_spread_s": _spread(seconds["ours"]),
        "naive_s": _median(seconds["naive"]),
        "naive_spread_s": _spread(seconds["naive"]),
        "rembg_s": None,
        "ratio": _ratio(seconds),
        "images_per_s": {side: 1 / median(found) for side, found in seconds.items() if found},
        "refine_adds": median(o.seconds / p.seconds - 1 for o, p in zip(ours, plain, strict=True)),
        "iou_vs_naive": _median([iou(o.mask, n.mask) for o, n in zip(ours, naive, strict=False)]),
        "iou_vs_truth": {
            "ours": _against_truth(scenes, [o.mask for o in ours]),
            "naive": _against_truth(scenes, [n.mask for n in naive]),
            "unrefined": _against_truth(scenes, [o.unrefined for o in ours]),
        },
        "stages_ms": {
            stage: median(o.stages_ms[stage] for o in ours) for stage in ours[0].stages_ms
        },
        "peak_rss_bytes": (peaks or {}).get("ours"),
        "naive_peak_rss_bytes": (peaks or {}).get("naive"),
    }


def _against_truth(scenes, masks):
    return _median([iou(mask, scene.truth) for mask, scene in zip(masks, scenes, strict=False)])


def _median(values):
    return median(values) if values else None


def _spread(values):
    return [min(values), max(values)] if values else None


def _ratio(seconds):
    if not seconds["naive"]:
        return None
    pairs = zip(seconds["naive"], seconds["ours"], strict=True)
    ratios = [naive / ours for naive, ours in pairs]
    # The scenes differ twofold for the naive script: with three rounds a median is one scene's.
    total = sum(seconds["naive"]) / sum(seconds["ours"])
    return {"total": total, "median": median(ratios), "min": min(ratios), "max": max(ratios)}
