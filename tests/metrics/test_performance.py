"""All metrics together: names, empty and full masks, laws, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bgexp.metrics import performance as metrics
from bgexp.metrics.performance import LOWER_IS_BETTER, METRICS, evaluate_performance

NAN = math.nan
TIES = {"weighted_f"}  # of equally near pixels one is chosen by its side
SIDED = {"s_measure"} | TIES  # the centroid's own pixels belong to the upper left

mask_pairs = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def is_same(value, expected):
    return value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def drop_names(score, names):
    return {name: value for name, value in score.items() if name not in names}


def test_names_and_types():
    assert METRICS == (
        "iou",
        "dice",
        "precision",
        "foreground_recall",
        "background_leakage",
        "mae",
        "boundary_iou",
        "s_measure",
        "e_measure",
        "weighted_f",
    )
    for pair in ((PART, FULL), (FULL, PART), (EMPTY, FULL), (EMPTY, EMPTY)):
        scores = evaluate_performance(*pair)
        assert tuple(scores) == METRICS
        assert is_same(scores, {name: getattr(metrics, name)(*pair) for name in METRICS})
        assert {type(value) for value in scores.values()} == {float}


# --- empty and full ---

EMPTY, FULL = np.zeros((4, 4), bool), np.ones((4, 4), bool)
PART = np.outer((1, 1, 0, 0), (1, 1, 0, 0)).astype(bool)  # 4 of 16 pixels, in the upper left

# Boundary IoU of FULL and PART: the bands are the 12 pixels on the edge and all 4 of PART, of which
# 3 are on the edge (not the one at 1, 1): 3 / (12 + 4 - 3).
#
# S: the rows of PART have the mean 0.5, rounded to 0, so the quadrants meet behind row 0, column 0.
# In the upper left, one pixel, all is constant: 1. In the others G varies and P does not: 0. Hence
# region = 1/16. Object of EMPTY is 12/16 (all background is right), of FULL 4/16.
#
# Weighted F: a lost pixel's window covers, of 4 rows, offsets 0 to 3 at an end, -1 to 2 within. If
# all is lost, all errors are 1, and a sum over pixels is the product of those of rows and columns.
# For PART against FULL the errors are the 12 lost pixels: all against all, minus PART against all
# twice, plus PART against PART. Nothing is extra, so that F = 2 kept / (|G| + kept).
K = [math.exp(-(i**2) / 50) for i in range(4)]
S = K[0] + 2 * (K[1] + K[2] + K[3])
END, WITHIN = (K[0] + K[1] + K[2] + K[3]) / S, (K[1] + K[0] + K[1] + K[2]) / S
PART_COST, ALL_COST = (END + WITHIN) ** 2, (2 * END + 2 * WITHIN) ** 2
REST_COST = ALL_COST - 2 * PART_COST + ((2 * K[0] + 2 * K[1]) / S) ** 2
F_PART, F_ALL, F_REST = (
    2 * (n - cost) / (n + n - cost) for n, cost in ((4, PART_COST), (16, ALL_COST), (16, REST_COST))
)
# Of FULL's 12 pixels outside PART, 4 are at distance 1, 4 at 2, one at each of the others.
DISTANCES = (1, 1, 1, 1, 2, 2, 2, 2, 2**0.5, 5**0.5, 5**0.5, 8**0.5)
F_EXTRA = 2 * 4 / (4 + 4 + sum(2 - 0.5 ** (d / 5) for d in DISTANCES))

# iou, dice, precision, recall, leakage, mae, boundary iou; s, e, weighted f
EXTREMES = [
    (EMPTY, EMPTY, (NAN, NAN, NAN, NAN, NAN, 0, NAN), (1, 16 / 15, NAN)),
    (EMPTY, PART, (0, 0, NAN, 0, NAN, 4 / 16, 0), (13 / 32, 4 / 15, F_PART)),
    (EMPTY, FULL, (0, 0, NAN, 0, NAN, 1, 0), (0, 0, F_ALL)),
    (PART, EMPTY, (0, 0, 0, NAN, 1, 4 / 16, 0), (12 / 16, 12 / 15, 0)),
    (FULL, EMPTY, (0, 0, 0, NAN, 1, 1, 0), (0, 0, 0)),
    (FULL, FULL, (1, 1, 1, 1, 0, 0, 1), (1, 16 / 15, 1)),
    (FULL, PART, (1 / 4, 2 / 5, 1 / 4, 1, 3 / 4, 3 / 4, 3 / 13), (5 / 32, 4 / 15, F_EXTRA)),
    (PART, FULL, (1 / 4, 2 / 5, 1, 1 / 4, 0, 3 / 4, 3 / 13), (4 / 16, 4 / 15, F_REST)),
    (PART, PART, (1, 1, 1, 1, 0, 0, 1), (1, 16 / 15, 1)),
]


@pytest.mark.parametrize(("mask", "truth", "overlap", "saliency"), EXTREMES)
def test_empty_and_full(mask, truth, overlap, saliency):
    expected = dict(zip(METRICS, overlap + saliency, strict=True))
    assert is_same(evaluate_performance(mask, truth), expected)


# --- laws ---


@given(mask_pairs)
def test_range(pair):
    score, n = evaluate_performance(*pair), pair[0].size
    for name, value in score.items():
        best = n / (n - 1) if name == "e_measure" and n > 1 else 1
        assert math.isnan(value) or 0 <= value <= best * (1 + 1e-12), name


@given(mask_pairs)
def test_symmetry(pair):
    forth, back = evaluate_performance(*pair), evaluate_performance(*reversed(pair))
    assert is_same(forth["precision"], back["foreground_recall"])
    for name in ("iou", "dice", "mae", "boundary_iou"):
        assert is_same(forth[name], back[name])
    if all(mask.any() and not mask.all() for mask in pair):
        assert is_same(forth["e_measure"], back["e_measure"])


@given(mask_pairs)
def test_relations_between_metrics(pair):
    score = evaluate_performance(*pair)
    assert is_same(score["dice"], 2 * score["iou"] / (1 + score["iou"]))
    assert is_same(score["background_leakage"], 1 - score["precision"])
    assert is_same(score["mae"], np.mean(pair[0] != pair[1]))


@given(mask_pairs)
def test_no_mask_is_better_than_the_truth_itself(pair):
    best, score = evaluate_performance(pair[1], pair[1]), evaluate_performance(*pair)
    for name in METRICS:
        sign = -1 if name in LOWER_IS_BETTER else 1
        if not math.isnan(best[name]) and not math.isnan(score[name]):
            assert sign * score[name] <= sign * best[name] + 1e-12, name


@given(mask_pairs)
def test_a_mask_is_perfect_against_itself_and_worst_against_its_complement(pair):
    mask, n = pair[0], pair[0].size
    for truth, good in ((mask, 1.0), (~mask, 0.0)):
        for name, value in evaluate_performance(mask, truth).items():
            expected = 1 - good if name in LOWER_IS_BETTER else good
            if name == "e_measure":
                expected *= n / (n - 1) if n > 1 else NAN
            elif name in SIDED and not good:
                continue  # these forgive: constant quadrants, and what is beyond the image
            defined = mask.any() and not mask.all()
            assert is_same(value, expected) or (math.isnan(value) and not defined), name


@given(mask_pairs)
def test_flips_and_transposition_change_nothing(pair):
    score = evaluate_performance(*pair)
    for turn, names in ((np.flipud, SIDED), (np.rot90, SIDED), (np.transpose, TIES)):
        turned = evaluate_performance(*(turn(mask) for mask in pair))
        assert is_same(drop_names(turned, names), drop_names(score, names))


@given(mask_pairs)
def test_the_memory_layout_changes_nothing_and_nothing_is_written(pair):
    score = evaluate_performance(*pair)
    for other in (np.asfortranarray, lambda mask: np.repeat(mask, 2, 1)[:, ::2]):
        masks = [other(mask) for mask in pair]
        for mask in masks:
            mask.setflags(write=False)
        assert is_same(evaluate_performance(*masks), score)
        assert all(np.array_equal(a, b) for a, b in zip(pair, masks, strict=True))
    upside_down = [np.ascontiguousarray(mask[::-1])[::-1] for mask in pair]
    assert is_same(evaluate_performance(*upside_down), score)


# --- refusals ---

BAD = [
    pytest.param(np.ones((4, 5), bool), "unequal shapes", id="other shape"),
    pytest.param(np.ones((1, 4), bool), "unequal shapes", id="would broadcast"),
    pytest.param(np.ones((2, 8), bool), "unequal shapes", id="as many pixels"),
    pytest.param(np.ones((4, 4), np.uint8), r"uint8 of shape \(4, 4\)", id="uint8"),
    pytest.param(np.ones((4, 4)), r"float64 of shape \(4, 4\)", id="float"),
    pytest.param(np.ones((4, 4, 1), bool), r"bool of shape \(4, 4, 1\)", id="3-D"),
    pytest.param(np.ones(4, bool), r"bool of shape \(4,\)", id="1-D"),
    pytest.param(np.ones((0, 4), bool), r"bool of shape \(0, 4\)", id="no pixels"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
@pytest.mark.parametrize("name", [*METRICS, "evaluate_performance"])
def test_other_layouts_are_refused(name, bad, message):
    function = getattr(metrics, name)
    for pair in ((bad, FULL), (FULL, bad)):
        with pytest.raises(ValueError, match=f"^expected HxW bool, got {message}"):
            function(*pair)
