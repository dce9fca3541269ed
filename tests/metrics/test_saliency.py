"""Structure, alignment and weighted F-measure: worked by hand, ties, and what is said of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from bgexp.metrics.saliency import WINDOW, _mark_errors, e_measure, s_measure, weighted_f

K = [math.exp(-(i**2) / 50) for i in range(4)]  # the Gaussian of sigma 5
S = K[0] + 2 * (K[1] + K[2] + K[3])

mask_pairs = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def parse_mask(text):
    """A mask from rows of `#` (foreground) and `.`."""
    return np.array([[c == "#" for c in row] for row in text.split()])


# --- worked by hand ---


def test_s_measure_by_hand():
    mask, truth = parse_mask("##.. ###."), parse_mask("##.. ##..")
    # Object: of the truth all is kept: 1. Of the 4 background pixels 3 are left out: m = 3/4,
    # s^2 = 4 * 3/4 * 1/4 / 3 = 1/4, 2m / (m^2 + 1 + s) = 1.5 / 2.0625 = 8/11. Half of each: 19/22.
    # Region: the centroid (0.5, 0.5) is rounded to (0, 0). Left column: one pixel each, 1.
    # Row 0 without it: P = G, 1. Row 1 without it: P = 110, G = 100, x = 2/3, y = 1/3, variances
    # 1/3 each, covariance 1/6: 4 x y / 6 = 4/27 over (4/9 + 1/9) * 2/3 = 10/27, that is 2/5.
    # (1 + 1 + 3 + 3 * 2/5) / 8 = 31/40.
    assert s_measure(mask, truth) == pytest.approx((19 / 22 + 31 / 40) / 2, abs=1e-12)


def test_e_measure_by_hand():
    mask, truth = parse_mask("##.. #..."), parse_mask("##.. ##..")
    # Means 3/8 and 4/8. Kept, 3 pixels: a = 5/8, b = 4/8, 2ab / (a^2 + b^2) = 40/41.
    # Lost, 1 pixel: a = -3/8, b = 4/8: -24/25. Background, 4 pixels: a = -3/8, b = -4/8: 24/25.
    total = 3 * (81 / 41) ** 2 / 4 + (1 / 25) ** 2 / 4 + 4 * (49 / 25) ** 2 / 4
    assert e_measure(mask, truth) == pytest.approx(total / 7, abs=1e-12)


def test_weighted_f_by_hand():
    mask, truth = parse_mask("..#..#"), parse_mask("..##..")
    # Column 3 is lost. Columns 4 and 5 have its error, columns 0 and 1 that of column 2, which is
    # right: the window of column 3 sees errors at offsets 0, 1 and 2.
    kept = 2 - (K[0] + K[1] + K[2]) / S**2
    # Column 5 is extra, 2 pixels from the truth.
    extra = 2 - 0.5 ** (2 / 5)
    precision, recall = kept / (kept + extra), kept / 2
    expected = 2 * precision * recall / (precision + recall)
    assert weighted_f(mask, truth) == pytest.approx(expected, abs=1e-7)


def test_the_window_is_the_gaussian():
    assert WINDOW.ravel() == pytest.approx(np.array(K[:0:-1] + K) / S, abs=1e-15)


# --- the nearest true pixel ---


@pytest.mark.parametrize(
    ("truth", "mask", "errors"),
    [
        ("#.#", "#..", 1),  # the middle takes after the left one, which is right
        ("#.#", "..#", 2),
        ("# . #", "# . .", 1),  # and after the upper one
        ("# . #", ". . #", 2),
    ],
)
def test_of_two_equally_near_the_left_or_upper_one_counts(truth, mask, errors):
    kept = 2 - sum(K[i] for i in range(errors)) / S**2
    expected = 2 * kept / (2 + kept)
    assert weighted_f(parse_mask(mask), parse_mask(truth)) == pytest.approx(expected, abs=1e-9)


def test_left_goes_before_upper():
    truth, lost = parse_mask(".#. #.. ..."), parse_mask(".#. ... ...")
    # (0, 1), lost, and (1, 0), kept, are equally near to (0, 0) and to (1, 1): (1, 0) is chosen.
    # (0, 2) and (1, 2) are nearer to (0, 1).
    assert np.array_equal(_mark_errors(lost, truth)[:2], parse_mask(".## ..#"))


def assert_nearest_as_in_scipy(mask, truth):
    lost = truth & ~mask
    rows, columns = ndimage.distance_transform_edt(~truth, return_indices=True)[1]
    near = ndimage.binary_dilation(lost, np.ones((7, 7)))
    assert np.array_equal(_mark_errors(lost, truth)[near], lost[rows, columns][near])


@given(mask_pairs)
def test_nearest_as_in_scipy(pair):
    if pair[1].any():
        assert_nearest_as_in_scipy(*pair)


@pytest.mark.parametrize("density", [0.01, 0.05, 0.2, 0.6])
def test_nearest_as_in_scipy_in_large(density):
    truth, mask = np.random.default_rng(0).random((2, 150, 200)) < np.array([[[density]], [[0.5]]])
    assert_nearest_as_in_scipy(mask, truth)


# --- what is said of them ---


@given(arrays(bool, (9, 11)))
def test_s_of_an_empty_mask(truth):
    empty = np.zeros_like(truth)
    assert s_measure(empty, truth) >= (0 if truth.all() else (1 - truth.mean()) / 2 - 1e-12)


def test_weighted_f_of_an_empty_mask():
    truth = np.zeros((20, 20), bool)
    truth[3:17, 3:17] = True
    empty = np.zeros_like(truth)
    assert 0 <= weighted_f(empty, truth) < 1e-12
    assert weighted_f(empty[1:], truth[1:]) > 1e-3


def test_an_extra_pixel_costs_more_the_farther_it_is():
    truth = np.zeros((30, 60), bool)
    truth[10:20, 5:15] = True
    scores = []
    for column in range(15, 60):
        mask = truth.copy()
        mask[14, column] = True
        scores.append(weighted_f(mask, truth))
    assert all(near > far for near, far in zip([1.0, *scores], scores, strict=False))


@given(arrays(bool, (12, 15)))
def test_flips_leave_the_weighted_f_of_a_rectangle_alone(mask):
    truth = np.zeros_like(mask)
    truth[3:8, 4:11] = True  # the nearest pixel of a rectangle is never in doubt
    expected = weighted_f(mask, truth)
    for turn in (np.flipud, np.fliplr, np.transpose):
        assert weighted_f(turn(mask), turn(truth)) == pytest.approx(expected, abs=1e-7)


def test_a_lost_hole_costs_more_than_lost_scattered_pixels():
    truth = np.ones((40, 40), bool)
    hole, scattered = truth.copy(), truth.copy()
    hole[16:22, 16:22] = False
    scattered[2:38:6, 2:38:6] = False
    assert (~hole).sum() == (~scattered).sum()
    assert weighted_f(hole, truth) < weighted_f(scattered, truth) < 1
