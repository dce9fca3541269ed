"""Metrics of alpha against slow references, cases by hand, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage.measure import label

from bgexp.metrics.matting import (
    MATTING_FUNCTIONS,
    alpha_connectivity,
    alpha_gradient,
    alpha_mse,
    alpha_sad,
    measure_composite_error,
)


def gradient_slowly(alpha, truth):
    """alphamatting.com's gaussgradient: 2D kernels, each of unit norm, by correlation."""
    sigma, epsilon = 1.4, 1e-2
    half = int(np.ceil(sigma * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * sigma * epsilon))))

    def gauss(x):
        return np.exp(-(x**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))

    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    for i in range(2 * half + 1):
        for j in range(2 * half + 1):
            kernel[i, j] = gauss(i - half) * -(j - half) * gauss(j - half) / sigma**2
    kernel /= np.sqrt((kernel**2).sum())
    lengths = [
        np.hypot(
            ndimage.convolve(plane / 255, kernel, mode="nearest"),
            ndimage.convolve(plane / 255, kernel.T, mode="nearest"),
        )
        for plane in (alpha, truth)
    ]
    return ((lengths[0] - lengths[1]) ** 2).sum() / 1000


def connectivity_slowly(alpha, truth):
    """alphamatting.com's code as others port it, pixel by pixel."""
    pred, true = alpha / 255, truth / 255
    levels = -np.ones(pred.shape)
    for step in range(1, 11):
        parts = label((pred >= step / 10) & (true >= step / 10), connectivity=1)
        sizes = [(parts == n).sum() for n in range(1, parts.max() + 1)]
        omega = parts == 1 + int(np.argmax(sizes)) if sizes else np.zeros(pred.shape, bool)
        for place in np.argwhere((levels == -1) & ~omega):
            levels[tuple(place)] = (step - 1) / 10
    levels[levels == -1] = 1
    total = 0.0
    for p, t, level in zip(pred.ravel(), true.ravel(), levels.ravel(), strict=True):
        phi = [1 - (v - level) * (v - level >= 0.15) for v in (p, t)]
        total += abs(phi[0] - phi[1])
    return total / 1000


@st.composite
def pairs(draw):
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    # No level of 0.1 or distance of 0.15 is met exactly: rounding would decide.
    values = st.sampled_from([0, 10, 60, 90, 130, 160, 200, 240, 255])
    return tuple(draw(arrays.arrays(np.uint8, shape, elements=values)) for _ in range(2))


@settings(deadline=None)
@given(pairs())
def test_they_equal_slow_references(pair):
    alpha, truth = pair
    difference = alpha.astype(float) / 255 - truth.astype(float) / 255
    assert alpha_sad(alpha, truth) == pytest.approx(np.abs(difference).sum() / 1000)
    assert alpha_mse(alpha, truth) == pytest.approx((difference**2).mean())
    assert alpha_gradient(alpha, truth) == pytest.approx(gradient_slowly(alpha, truth), abs=1e-9)
    assert alpha_connectivity(alpha, truth) == pytest.approx(connectivity_slowly(alpha, truth))


@settings(deadline=None)
@given(pairs())
def test_they_are_symmetric_and_0_for_the_truth_itself(pair):
    for function in MATTING_FUNCTIONS:
        assert function(pair[1], pair[1]) == 0
        assert function(*pair) == pytest.approx(function(*pair[::-1]))
        assert function(*pair) >= 0


def test_cases_worked_by_hand():
    truth = np.zeros((10, 100), np.uint8)
    truth[:, :50] = 255
    alpha = truth.copy()
    alpha[:, 49] = 51  # a fifth in place of the whole, in ten pixels
    assert alpha_sad(alpha, truth) == pytest.approx(10 * 0.8 / 1000)
    assert alpha_mse(alpha, truth) == pytest.approx(10 * 0.64 / 1000)
    # They are connected up to 0.2: 1 - 0 against 1 - 0.8.
    assert alpha_connectivity(alpha, truth) == pytest.approx(10 * 0.8 / 1000)
    assert alpha_gradient(alpha, truth) > 0


def test_an_island_costs_connectivity_though_its_alpha_is_nearly_right():
    truth = np.zeros((9, 20), np.uint8)
    truth[:, :10] = 255
    near, far = truth.copy(), truth.copy()
    near[4, 10], far[4, 18] = 128, 128
    assert alpha_sad(near, truth) == alpha_sad(far, truth)
    assert alpha_connectivity(far, truth) == pytest.approx(128 / 255 / 1000)


def test_void_is_left_out():
    truth, alpha = np.zeros((2, 6, 6), np.uint8)
    alpha[:, 3:] = 255
    void = np.zeros((6, 6), np.bool_)
    void[:, 3:] = True
    assert [function(alpha, truth, void) for function in MATTING_FUNCTIONS] == [0, 0, 0, 0]
    assert math.isnan(alpha_mse(alpha, truth, ~np.zeros_like(void)))
    colors, others = np.zeros((2, 6, 6, 3), np.uint8)
    colors[:, :3], colors[:, 3:] = 30, 200
    assert measure_composite_error(colors, others) == 115
    assert measure_composite_error(colors, others, void) == 30


@pytest.mark.parametrize(
    ("alpha", "truth"),
    [
        (np.zeros((2, 2), np.bool_), np.zeros((2, 2), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.zeros((0, 2), np.uint8), np.zeros((0, 2), np.uint8)),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)),
    ],
)
def test_other_arrays_are_refused(alpha, truth):
    for function in MATTING_FUNCTIONS:
        with pytest.raises(ValueError, match="expected HxW uint8"):
            function(alpha, truth)
    with pytest.raises(ValueError, match="expected HxWx3"):
        measure_composite_error(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
