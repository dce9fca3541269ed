"""Metrics against slow references, cases worked by hand, and laws that hold for all masks."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from bgexp import metrics
from bgexp.metrics import (
    CHECKS,
    LOWER_IS_BETTER,
    METRICS,
    aggregate,
    evaluate_performance,
    mask_checks,
)

NAN = math.nan
NO_SCORES = np.zeros(0)
quick = settings(deadline=None, max_examples=40)


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


def drawn(text):
    """A mask from rows of `#` (foreground) and `.`."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def same(value, expected):
    return value == pytest.approx(expected, abs=1e-12, nan_ok=True)


# --- independent references: sets of coordinates, no array arithmetic ---


def points(mask):
    rows, columns = mask.shape
    return {(r, c) for r, c in product(range(rows), range(columns)) if mask[r, c]}


def around(point):
    return {(point[0] + dr, point[1] + dc) for dr, dc in product((-1, 0, 1), repeat=2)}


def band_by_steps(mask, d):
    """Mask minus d erosions by 3x3: a point stays while all nine around it are in the set.

    Points outside the image are never in the set, which is the zero padding.
    """
    left = points(mask)
    for _ in range(d):
        left = {p for p in left if around(p) <= left}
    return points(mask) - left


def share(part, whole):
    return len(part) / len(whole) if whole else NAN


def slow_performance(mask, truth):
    p, g = points(mask), points(truth)
    diagonal = (mask.shape[0] ** 2 + mask.shape[1] ** 2) ** 0.5
    d = max(1, round(0.02 * diagonal))
    band_p, band_g = band_by_steps(mask, d), band_by_steps(truth, d)
    return {
        "iou": share(p & g, p | g),
        "dice": 2 * len(p & g) / (len(p) + len(g)) if p or g else NAN,
        "precision": share(p & g, p),
        "foreground_recall": share(p & g, g),
        "background_leakage": share(p - g, p),
        "mae": sum(abs(float(a) - float(b)) for a, b in zip(mask.flat, truth.flat, strict=True))
        / (mask.shape[0] * mask.shape[1]),
        "boundary_iou": share(band_p & band_g, band_p | band_g),
    }


def slow_parts(mask):
    """Number of 8-connected components, by flooding from each point not yet reached."""
    todo, n = points(mask), 0
    while todo:
        n += 1
        frontier = {todo.pop()}
        while frontier:
            frontier = set().union(*(around(p) for p in frontier)) & todo
            todo -= frontier
    return n


@given(mask_pairs())
@quick
def test_every_metric_equals_the_slow_reference(pair):
    assert same(evaluate_performance(*pair), slow_performance(*pair))


@pytest.mark.parametrize(
    ("shape", "d"), [((60, 80), 2), ((3, 160), 3), ((170, 5), 3), ((100, 180), 4)]
)
def test_wide_bands_equal_the_slow_reference(shape, d):
    noise = np.random.default_rng(d).normal(size=(2, *shape))
    mask, truth = (ndimage.gaussian_filter(plane, 3) > -0.02 for plane in noise)
    expected = slow_performance(mask, truth)["boundary_iou"]
    assert 0 < expected < 1
    assert same(metrics.boundary_iou(mask, truth), expected)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("seed", range(4))
def test_one_square_erodes_like_that_many_steps(width, seed):
    noise = np.random.default_rng(seed).normal(size=(60, 90))
    mask = ndimage.gaussian_filter(noise, 2 + 2 * seed) > -0.03
    mask[:, : 20 * (seed % 2)] = False  # the bounding box ends inside the image in half the cases
    steps = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
    distance = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    band = metrics._band(mask, width)
    assert np.array_equal(band, mask & ~steps)
    assert np.array_equal(band, mask & (distance <= width))


# --- worked by hand ---


def test_counts_by_hand():
    mask = drawn("##.. ##.. .... ...#")
    truth = drawn(".##. .##. .##. ....")
    # |P| = 5, |G| = 6, both = 2 (column 1 of rows 0 and 1), either = 5 + 6 - 2 = 9, pixels = 16.
    # No pixel has all of its eight neighbours in its mask: the bands (d = 1) are the masks.
    assert same(
        evaluate_performance(mask, truth),
        {
            "iou": 2 / 9,
            "dice": 4 / 11,
            "precision": 2 / 5,
            "foreground_recall": 2 / 6,
            "background_leakage": 3 / 5,
            "mae": 7 / 16,  # 3 pixels too many, 4 too few
            "boundary_iou": 2 / 9,
        },
    )


def test_boundary_iou_by_hand():
    mask = drawn("..... ###.. ###.. ###.. .....")
    truth = drawn("..... .###. .###. .###. .....")
    # d = max(1, round(0.02 * 7.07)) = 1. Each band is its 3x3 square without the centre: 8 pixels.
    # The squares share 6 pixels, two of which are a centre: 4 in both bands, 8 + 8 - 4 in either.
    assert same(metrics.boundary_iou(mask, truth), 4 / 12)
    assert same(metrics.iou(mask, truth), 6 / 12)


def test_the_image_edge_is_a_boundary():
    full = np.ones((5, 5), bool)
    centre = drawn("..... .###. .###. .###. .....")
    # The band of the full mask is the outermost ring; that of the 3x3 square is the ring inside it.
    assert metrics.boundary_iou(full, centre) == 0.0
    assert same(metrics.iou(full, centre), 9 / 25)


def test_band_width_follows_the_image_diagonal_and_halves_go_to_even():
    full = np.ones((75, 100), bool)
    inner = np.zeros((75, 100), bool)
    inner[1:-1, 1:-1] = True
    # Diagonal 125, 0.02 * 125 = 2.5, rounded to 2. In rings counted from the edge the bands are
    # rings 1 and 2, and 2 and 3. Ring 1: 75*100 - 73*98 = 346, ring 2: 73*98 - 71*96 = 338,
    # ring 3: 71*96 - 69*94 = 330. So 338 / (346 + 338 + 330).
    assert same(metrics.boundary_iou(full, inner), 338 / 1014)


# --- empty and full ---

EMPTY, FULL = np.zeros((4, 4), bool), np.ones((4, 4), bool)
PART = drawn("##.. ##.. .... ....")

# In the order of METRICS: iou, dice, precision, recall, leakage, mae, boundary iou.
# PART has 4 of 16 pixels. The bands of FULL and PART: 16 - 4 = 12 on the edge, and all 4 of PART,
# of which 3 are on the edge (not the one at 1, 1): 3 / (12 + 4 - 3).
EXTREMES = [
    (EMPTY, EMPTY, (NAN, NAN, NAN, NAN, NAN, 0, NAN)),
    (EMPTY, PART, (0, 0, NAN, 0, NAN, 4 / 16, 0)),
    (EMPTY, FULL, (0, 0, NAN, 0, NAN, 1, 0)),
    (PART, EMPTY, (0, 0, 0, NAN, 1, 4 / 16, 0)),
    (FULL, EMPTY, (0, 0, 0, NAN, 1, 1, 0)),
    (FULL, FULL, (1, 1, 1, 1, 0, 0, 1)),
    (FULL, PART, (4 / 16, 8 / 20, 4 / 16, 1, 12 / 16, 12 / 16, 3 / 13)),
    (PART, FULL, (4 / 16, 8 / 20, 1, 4 / 16, 0, 12 / 16, 3 / 13)),
    (PART, PART, (1, 1, 1, 1, 0, 0, 1)),
]


@pytest.mark.parametrize(("mask", "truth", "expected"), EXTREMES)
def test_empty_and_full(mask, truth, expected):
    assert same(evaluate_performance(mask, truth), dict(zip(METRICS, expected, strict=True)))


def test_names_and_types():
    scores = evaluate_performance(PART, FULL)
    assert tuple(scores) == METRICS
    assert METRICS == (
        "iou",
        "dice",
        "precision",
        "foreground_recall",
        "background_leakage",
        "mae",
        "boundary_iou",
    )
    assert scores == {name: getattr(metrics, name)(PART, FULL) for name in METRICS}
    for value in (*scores.values(), *mask_checks(PART, FULL, np.array([0.5], np.float32)).values()):
        assert type(value) is float


# --- laws ---


@given(mask_pairs())
@quick
def test_range_and_symmetry(pair):
    mask, truth = pair
    forth, back = evaluate_performance(mask, truth), evaluate_performance(truth, mask)
    assert all(math.isnan(value) or 0 <= value <= 1 for value in forth.values())
    swapped = {
        name: back[
            {"precision": "foreground_recall", "foreground_recall": "precision"}.get(name, name)
        ]
        for name in METRICS
        if name != "background_leakage"
    }
    assert same({name: forth[name] for name in swapped}, swapped)


@given(mask_pairs())
@quick
def test_relations_between_metrics(pair):
    mask, truth = pair
    score = evaluate_performance(mask, truth)
    assert same(score["dice"], 2 * score["iou"] / (1 + score["iou"]))
    assert same(score["background_leakage"], 1 - score["precision"])
    assert same(score["mae"], np.mean(mask != truth))


@given(mask_pairs())
@quick
def test_a_mask_is_perfect_against_itself_and_worst_against_its_complement(pair):
    mask, _ = pair
    for truth, good in ((mask, 1.0), (~mask, 0.0)):
        for name, value in evaluate_performance(mask, truth).items():
            expected = 1 - good if name in LOWER_IS_BETTER else good
            assert value == expected or (math.isnan(value) and (not mask.any() or mask.all()))


@given(mask_pairs())
@quick
def test_flips_and_transposition_change_nothing(pair):
    score, check = evaluate_performance(*pair), mask_checks(*pair, NO_SCORES)
    for turn in (np.flipud, np.fliplr, np.transpose, np.asfortranarray, np.rot90):
        turned = [turn(mask) for mask in pair]
        assert same(evaluate_performance(*turned), score)
        assert same(mask_checks(*turned, NO_SCORES), check)


@given(mask_pairs())
@quick
def test_nothing_is_written_to_the_masks(pair):
    before = [mask.copy() for mask in pair]
    for mask in pair:
        mask.setflags(write=False)
    evaluate_performance(*pair)
    mask_checks(*pair, NO_SCORES)
    assert all(np.array_equal(a, b) for a, b in zip(pair, before, strict=True))


# --- checks without a truth ---


@given(mask_pairs())
@quick
def test_checks_equal_the_slow_reference(pair):
    mask, unrefined = pair
    rows, columns = mask.shape
    everything = set(product(range(rows), range(columns)))
    border = {(r, c) for r, c in everything if r in (0, rows - 1) or c in (0, columns - 1)}
    assert same(
        mask_checks(mask, unrefined, NO_SCORES),
        {
            "coverage": share(points(mask), everything),
            "nothing_found": 0.0 if points(mask) else 1.0,
            "parts": slow_parts(mask),
            "border_contact": share(points(mask) & border, border),
            "confidence": NAN,
            "refined_share": share(points(mask) ^ points(unrefined), everything),
        },
    )


def test_checks_by_hand():
    mask = drawn("#...# .#... ..... ....# ....#")
    unrefined = drawn("#.... .#... .#... ....# ....#")
    result = mask_checks(mask, unrefined, np.array([0.5, 0.9, 1.0], np.float32))
    assert tuple(result) == CHECKS
    assert result == pytest.approx(
        {
            "coverage": 5 / 25,
            "nothing_found": 0,
            "parts": 3,  # the diagonal pair, the corner, the pair at the right
            "border_contact": 4 / 16,  # all but the pixel at 1, 1
            "confidence": 0.8,
            "refined_share": 2 / 25,  # (0, 4) came, (2, 1) went
        }
    )


def test_checks_of_empty_and_full():
    assert same(
        mask_checks(EMPTY, FULL, NO_SCORES), dict(zip(CHECKS, (0, 1, 0, 0, NAN, 1), strict=True))
    )
    assert same(
        mask_checks(FULL, FULL, np.ones(1)), dict(zip(CHECKS, (1, 0, 1, 1, 1, 0), strict=True))
    )


# --- refusals ---

BAD = [
    pytest.param(np.ones((4, 5), bool), "unequal shapes", id="other shape"),
    pytest.param(np.ones((1, 4), bool), "unequal shapes", id="would broadcast"),
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


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_checks_refuse_other_layouts(bad, message):
    for pair in ((bad, FULL), (FULL, bad)):
        with pytest.raises(ValueError, match=f"^expected HxW bool, got {message}"):
            mask_checks(*pair, NO_SCORES)


@pytest.mark.parametrize("scores", [np.ones((2, 1)), np.ones(2, int), np.float64(1)])
def test_checks_refuse_other_scores(scores):
    with pytest.raises(ValueError, match=r"^expected \(N,\) float, got "):
        mask_checks(FULL, FULL, scores)


# --- aggregation ---


def test_aggregate_by_hand():
    # Sorted 0, 1, 2, 5: mean 8 / 4; median between 1 and 2; p05 at position 0.05 * 3 = 0.15,
    # between 0 and 1; p95 at position 0.95 * 3 = 2.85, between 2 and 5: 2 + 0.85 * 3.
    result = aggregate([5.0, NAN, 0.0, 2.0, NAN, 1.0, NAN])
    assert (result.mean, result.median, result.p05, result.p95) == pytest.approx(
        (2, 1.5, 0.15, 4.55)
    )
    assert (result.n_scored, result.n_undefined) == (4, 3)


@pytest.mark.parametrize("n_undefined", [0, 3])
def test_aggregate_of_nothing_is_undefined(n_undefined):
    result = aggregate([NAN] * n_undefined)
    assert all(math.isnan(v) for v in (result.mean, result.median, result.p05, result.p95))
    assert (result.n_scored, result.n_undefined) == (0, n_undefined)


@given(st.lists(st.floats(0, 1) | st.just(NAN), min_size=1, max_size=40))
@quick
def test_aggregate_leaves_nan_out(values):
    scored = sorted(v for v in values if v == v)
    result = aggregate(values)
    assert result.n_scored + result.n_undefined == len(values)
    assert result.n_scored == len(scored)
    if scored:
        assert result.mean == pytest.approx(math.fsum(scored) / len(scored))
        middle = (scored[(len(scored) - 1) // 2] + scored[len(scored) // 2]) / 2
        assert result.median == pytest.approx(middle)
        assert scored[0] <= result.p05 <= result.median <= result.p95 <= scored[-1]
