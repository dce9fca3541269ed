import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgexp.metrics.overlap import iou
from bgexp.train.degrade import coarsen_masks

SIZE = (120, 160)
NOISE = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
seeds = st.integers(0, 2**31 - 1)
many = settings(max_examples=60, deadline=None, database=None)


def draw_discs(*circles, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    masks = [np.hypot(y - cy, x - cx) < radius for cy, cx, radius in circles]
    return np.array(masks, bool).reshape(-1, *size)


@many
@given(seeds, st.integers(0, 3), st.integers(8, 90), st.integers(8, 90))
def test_a_coarse_mask_is_never_empty(seed, count, height, width):
    masks = draw_discs(
        *[(height / 2, width * n / 3, 6) for n in range(count)], size=(height, width)
    )
    coarse = coarsen_masks(NOISE[:height, :width], masks, np.random.default_rng(seed))
    assert (coarse.shape, coarse.dtype) == ((height, width), np.bool_)
    assert coarse.any()


def test_a_coarse_mask_of_nothing_is_something():
    nothing = np.zeros((0, 80, 80), bool)
    image = NOISE[:80, :80]
    assert all(coarsen_masks(image, nothing, np.random.default_rng(n)).any() for n in range(500))


@many
@given(seeds)
def test_a_coarse_mask_follows_from_its_generator_and_leaves_the_truth_as_it_is(seed):
    masks = draw_discs((60, 60, 30), (70, 110, 25))
    first, second = (coarsen_masks(NOISE, masks, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(masks, draw_discs((60, 60, 30), (70, 110, 25)))


@pytest.mark.parametrize("circles", [[(60, 80, 40)], [(60, 50, 30), (60, 110, 35)]])
def test_a_coarse_mask_is_wrong_as_a_detectors_is(circles):
    masks = draw_discs(*circles)
    truth = masks.any(axis=0)
    scores = [iou(coarsen_masks(NOISE, masks, np.random.default_rng(n)), truth) for n in range(300)]
    assert 0.5 < np.mean(scores) < 0.95
    assert np.std(scores) > 0.05  # some good, some bad


def test_nearly_every_object_leaves_a_trace():
    masks = draw_discs((60, 40, 25), (60, 120, 25))
    coarse_masks = [coarsen_masks(NOISE, masks, np.random.default_rng(n)) for n in range(200)]
    has_both = [coarse[:, :80].any() and coarse[:, 80:].any() for coarse in coarse_masks]
    assert 0.8 < np.mean(has_both) < 0.99


def test_a_thing_beside_the_object_is_kept_now_and_then():
    masks, thing = draw_discs((60, 40, 20)), draw_discs((60, 120, 25))[0]
    image = np.full((*SIZE, 3), 200, np.uint8)
    image[thing] = (20, 40, 90)
    coarse_masks = [coarsen_masks(image, masks, np.random.default_rng(n)) for n in range(300)]
    shares = np.array([(coarse & thing).sum() / thing.sum() for coarse in coarse_masks])
    assert 0.02 < np.mean(shares > 0.7) < 0.3
    assert np.mean(shares < 0.1) > 0.5
