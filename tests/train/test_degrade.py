import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.metrics.overlap import iou
from bgexp.train.degrade import coarsened

SIZE = (120, 160)
seeds = st.integers(0, 2**31 - 1)
many = settings(max_examples=60, deadline=None, database=None)


def discs(*circles, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    masks = [np.hypot(y - cy, x - cx) < radius for cy, cx, radius in circles]
    return np.array(masks, bool).reshape(-1, *size)


@many
@given(seeds, st.integers(0, 3), st.integers(8, 90), st.integers(8, 90))
def test_a_coarse_mask_is_never_empty(seed, count, height, width):
    masks = discs(*[(height / 2, width * n / 3, 6) for n in range(count)], size=(height, width))
    found = coarsened(masks, np.random.default_rng(seed))
    assert (found.shape, found.dtype) == ((height, width), np.bool_)
    assert found.any()


def test_a_coarse_mask_of_nothing_is_something():
    nothing = np.zeros((0, 80, 80), bool)
    assert all(coarsened(nothing, np.random.default_rng(seed)).any() for seed in range(2000))


@many
@given(seeds)
def test_a_coarse_mask_follows_from_its_generator_and_leaves_the_truth_as_it_is(seed):
    masks = discs((60, 60, 30), (70, 110, 25))
    one, other = (coarsened(masks, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(masks, discs((60, 60, 30), (70, 110, 25)))


@pytest.mark.parametrize("circles", [[(60, 80, 40)], [(60, 50, 30), (60, 110, 35)]])
def test_a_coarse_mask_is_wrong_as_a_detectors_is(circles):
    masks = discs(*circles)
    truth = masks.any(axis=0)
    scores = [iou(coarsened(masks, np.random.default_rng(n)), truth) for n in range(300)]
    assert 0.5 < np.mean(scores) < 0.95
    assert np.std(scores) > 0.05  # some good, some bad


def test_every_object_leaves_a_trace():
    masks = discs((60, 40, 25), (60, 120, 25))
    found = [coarsened(masks, np.random.default_rng(n)) for n in range(100)]
    assert np.mean([one[:, :80].any() and one[:, 80:].any() for one in found]) > 0.97
