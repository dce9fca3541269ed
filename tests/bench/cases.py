"""Outcomes to the cases of bench.json, and the promises that have to hold for them to count."""

from statistics import fmean, median

import numpy as np
import torch

from bgexp.metrics.overlap import iou

SAME_UNION = 0.999  # IoU of the two unrefined masks: rounding at the edge, no more
REFERENCE = "torch fp32"  # the side that the others are held against
SAME_BOX = 0.01  # of the picture's longer side


def check_work(side, control, proposals):
    """Check that the box head saw all proposals, the mask head the boxes above the threshold."""
    scene = control.scene
    expected = proposals, len(scene.boxes) if side == "naive" else scene.objects
    if (control.proposals, control.mask_boxes) != expected:
        work = control.proposals, control.mask_boxes
        raise AssertionError(f"{side}: (proposals, mask boxes) {work}, expected {expected}")


def check_same(scene, ours, naive):
    """Check that both found the scene's objects and pasted the same union."""
    np.testing.assert_allclose(ours.boxes, naive.boxes, atol=0.01)  # pixels
    if len(ours.boxes) != scene.objects or iou(ours.unrefined, naive.unrefined) <= SAME_UNION:
        raise AssertionError(f"IoU of the unions is {iou(ours.unrefined, naive.unrefined):.5f}")


def check_refined(outcome, refine):
    """Check that a refinement was applied: one that was refused would look fast."""
    if (refine == "none") != np.array_equal(outcome.mask, outcome.unrefined):
        raise AssertionError(f"{refine}: refined where it should not be, or not where it should")


def name_side(detector):
    """Name the side of a detector by its arithmetic."""
    return f"{detector.backend} {detector.precision}"


def build_case(megapixels, detector, refine, rounds, peaks=None):
    """Build a case: medians over rounds, the ratio of all their time, and of each round's pair.

    Args:
        megapixels: Of the pictures.
        detector: Its settings.
        refine: The refinement's name.
        rounds: A list of (scene, outcomes by (side, refine)).
        peaks: Peak bytes by side, where measured.
    """
    scenes, peaks = [scene for scene, _ in rounds], peaks or {}
    ours = [outcomes[name_side(detector), refine] for _, outcomes in rounds]
    plain = [outcomes[name_side(detector), "none"] for _, outcomes in rounds]
    exact = [
        outcomes[REFERENCE, refine] for _, outcomes in rounds if (REFERENCE, refine) in outcomes
    ]
    rembg = [outcomes["rembg", "none"] for _, outcomes in rounds if ("rembg", "none") in outcomes]
    naive = [o["naive", refine] for _, o in rounds if ("naive", refine) in o]
    seconds = {"ours": [o.seconds for o in ours], "naive": [n.seconds for n in naive]}
    return {
        "megapixels": megapixels,
        "detector": detector.name,
        "predictions": "controlled" if len(scenes[0].boxes) else "own",
        "objects": scenes[0].objects if len(scenes[0].boxes) else None,
        "backend": detector.backend,
        "precision": detector.precision,
        "refine": refine,
        "workers": 1,
        "threads": torch.get_num_threads(),
        "rounds": len(rounds),
        "ours_s": _median(seconds["ours"]),
        "ours_spread_s": _find_range(seconds["ours"]),
        "naive_s": _median(seconds["naive"]),
        "naive_spread_s": _find_range(seconds["naive"]),
        "rembg_s": _median([o.seconds for o in rembg]),
        "ratio": _compute_ratios(seconds),
        "images_per_s": {side: 1 / median(times) for side, times in seconds.items() if times},
        "refine_adds": median(o.seconds / p.seconds - 1 for o, p in zip(ours, plain, strict=True)),
        "iou_vs_naive": _median([iou(o.mask, n.mask) for o, n in zip(ours, naive, strict=False)]),
        "vs_fp32": _compare_with_exact(scenes, ours, exact),
        "iou_vs_truth": {
            "ours": _compare_with_truth(scenes, [o.mask for o in ours]),
            "naive": _compare_with_truth(scenes, [n.mask for n in naive]),
            "unrefined": _compare_with_truth(scenes, [o.unrefined for o in ours]),
        },
        "stages_ms": {
            stage: median(o.stages_ms[stage] for o in ours) for stage in ours[0].stages_ms
        },
        "peak_rss_bytes": peaks.get(name_side(detector)),
        "naive_peak_rss_bytes": peaks.get("naive"),
    }


def _compare_with_exact(scenes, ours, exact):
    """Compare masks with those of fp32 by torch; count pictures with the same detections."""
    if not exact:
        return None
    triples = list(zip(scenes, ours, exact, strict=True))
    scores = [_compute_iou(outcome.mask, reference.mask) for _, outcome, reference in triples]
    same = [
        outcome.boxes.shape == reference.boxes.shape
        and np.allclose(
            outcome.boxes, reference.boxes, rtol=0, atol=SAME_BOX * max(scene.truth.shape)
        )
        for scene, outcome, reference in triples
    ]
    return {"iou_mean": fmean(scores), "iou_min": min(scores), "same_detections": fmean(same)}


def _compute_iou(mask, reference):
    return iou(mask, reference) if mask.any() or reference.any() else 1.0


def _compare_with_truth(scenes, masks):
    return _median([iou(mask, scene.truth) for mask, scene in zip(masks, scenes, strict=False)])


def _median(values):
    return median(values) if values else None


def _find_range(values):
    return [min(values), max(values)] if values else None


def _compute_ratios(seconds):
    if not seconds["naive"]:
        return None
    pairs = zip(seconds["naive"], seconds["ours"], strict=True)
    ratios = [naive / ours for naive, ours in pairs]
    # The scenes differ twofold for the naive script: with three rounds a median is one scene's.
    total = sum(seconds["naive"]) / sum(seconds["ours"])
    return {"total": total, "median": median(ratios), "min": min(ratios), "max": max(ratios)}
