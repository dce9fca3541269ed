"""The guided filter against a slow one, and what it does at an edge."""

from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.config.stages import GuidedFilter
from bgexp.pipeline import guided
from bgexp.pipeline.guided import refine_mask_guided
from bgexp.pipeline.working_window import Window


def filter_slowly(picture, mask, radius):
    """Filter by He et al.'s definition, pixel by pixel: least squares in windows, then means.

    A window minimises the sum of (a I + b - p)^2 + epsilon a^2 over its pixels; a sum of squares
    with three more rows, which lstsq solves. Outside, the picture is mirrored without its edge.
    """

    def windows(plane):
        wide = np.pad(plane, [(radius, radius), (radius, radius), (0, 0)], mode="reflect")
        side = 2 * radius + 1
        height, width = plane.shape[:2]
        return [[wide[y : y + side, x : x + side] for x in range(width)] for y in range(height)]

    both = np.dstack([picture / 255, mask])
    fitted = np.zeros((*mask.shape, 4))
    for y, row in enumerate(windows(both)):
        for x, window in enumerate(row):
            colors, target = window[..., :3].reshape(-1, 3), window[..., 3].ravel()
            ridge = np.sqrt(len(target) * guided._SMOOTHING) * np.eye(3, 4)
            rows = np.vstack([np.hstack([colors, np.ones((len(target), 1))]), ridge])
            fitted[y, x] = np.linalg.lstsq(rows, np.append(target, [0, 0, 0]))[0]
    mean = np.array([[w.mean((0, 1)) for w in row] for row in windows(fitted)])
    return (mean[..., :3] * picture / 255).sum(-1) + mean[..., 3]


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_it_is_the_guided_filter(radius):
    rng = np.random.default_rng(radius)
    picture = rng.integers(0, 256, (9, 11, 3), np.uint8)
    mask = rng.random((9, 11)) > 0.5
    share = guided.apply_factors(guided.fit_colors(picture, mask, radius), picture)
    assert share.dtype == np.float32
    np.testing.assert_allclose(share, filter_slowly(picture, mask, radius), atol=1e-4)


def test_a_flat_picture_only_blurs_the_mask():
    """No colour to go by: the mean of the mask over 3 pixels, and of that again."""
    picture = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), np.bool_)
    mask[:, :4] = True
    share = guided.apply_factors(guided.fit_colors(picture, mask, 1), picture)
    expected = np.array([9, 9, 8, 6, 3, 1, 0, 0]) / 9
    np.testing.assert_allclose(share, np.broadcast_to(expected, (8, 8)), atol=1e-5)


@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(1, 30), st.integers(5, 64), st.integers(0, 99)
)
def test_tile_by_tile_it_is_as_if_made_at_once(height, width, scale, tile, seed):
    rng = np.random.default_rng(seed)
    size = round(height * scale), round(width * scale)
    picture = rng.integers(0, 256, (*size, 3), np.uint8)
    small = cv2.resize(picture, (width, height))
    refined, uncertain = rng.random((2, height, width)) > 0.5
    window = Window(np.s_[:, :], picture, rng.random(size) > 0.5, small, refined, 10)
    factors = cv2.resize(guided.fit_colors(small, refined, 2), size[::-1]).reshape(*size, 4)
    share = cv2.blur((factors * np.dstack([picture, np.full(size, 255)])).sum(-1), (3, 3))
    band = cv2.resize(uncertain.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    with mock.patch.object(guided, "_TILE", tile):
        mask = guided.follow_edges(window, refined, uncertain, 2)
    decided = abs(share - 0.5) > 1e-3
    assert (mask == window.mask)[~band].all()
    assert (mask == (share > 0.5))[band & decided].all()


def test_each_pass_brings_the_edge_nearer():
    truth = np.zeros((200, 300), np.bool_)
    truth[50:150, 80:220] = True
    coarse = np.zeros_like(truth)
    coarse[44:156, 74:226] = True  # 6 px too large
    noise = np.random.default_rng(0).normal(0, 12, (*truth.shape, 3))
    image = np.where(truth[..., None], (150, 100, 90), (100, 130, 95)) + noise
    image = image.clip(0, 255).astype(np.uint8)
    wrong = [
        np.count_nonzero(refine_mask_guided(image, coarse, GuidedFilter(iterations=n)).mask ^ truth)
        for n in (1, 2, 4)
    ]
    assert np.count_nonzero(coarse ^ truth) > wrong[0] > wrong[1] > wrong[2]
