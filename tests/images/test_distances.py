"""Distances to a mask's edge are the exact ones, wherever in memory and by however many threads."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from bgexp.images.distances import measure_distances


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request):
    """OpenCV has another way with one thread than with several."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(request.param)
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize("width", range(200, 208))
def test_as_scipy_has_them_bit_for_bit(width):
    mask = np.random.default_rng(width).random((150, width)) < 0.999
    exact = ndimage.distance_transform_edt(mask).astype(np.float32)
    np.testing.assert_array_equal(measure_distances(mask), exact)


def test_far_from_the_edge():
    mask = np.ones((3, 1400), np.bool_)
    mask[:, 0] = False
    np.testing.assert_array_equal(measure_distances(mask)[1], np.arange(1400))
