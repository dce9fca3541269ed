"""The soft edge: what stays bit-equal, what is exact, and that it beats the hard edge."""

import io
from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from bgexp.config.stages import Cutout
from bgexp.images.encode import Photo, encode_result
from bgexp.pipeline.cutout import cut_out, cut_out_by_settings
from bgexp.pipeline.soft_edge import estimate_matte
from bgexp.pipeline.working_window import find_bands

BLUE, ORANGE = np.float32((40, 60, 200)), np.float32((230, 140, 20))


def draw_disc(side=160, blur=2.0, radius=45, noise=12):
    """An orange disc out of focus before a textured blue wall: picture, exact alpha."""
    rng = np.random.default_rng(0)
    alpha = cv2.circle(np.zeros((side, side), np.float32), (side // 2, side // 2), radius, 1, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), blur) if blur else alpha
    wall = BLUE + rng.normal(0, noise, (side, side, 1)).astype(np.float32)
    picture = alpha[..., None] * ORANGE + (1 - alpha[..., None]) * wall
    return picture.clip(0, 255).round().astype(np.uint8), alpha


def find_far(mask, pixels):
    """Pixels further than this from the mask's edge, inside and outside."""
    near = [cv2.distanceTransform(m.view(np.uint8), cv2.DIST_L2, 5) for m in (mask, ~mask)]
    return (near[0] > pixels) | (near[1] > pixels)


def test_alpha_and_colours_of_a_blurred_disc():
    picture, alpha = draw_disc()
    matte = estimate_matte(picture, alpha > 0.5)
    hard = np.abs((alpha > 0.5) - alpha).mean()
    assert np.abs(matte.alpha / 255 - alpha).mean() < 0.35 * hard
    edge = (alpha > 0.2) & (alpha < 0.8)
    blue_left = np.abs(picture[edge] - ORANGE).mean(), np.abs(matte.colors[edge] - ORANGE).mean()
    assert blue_left[1] < 0.3 * blue_left[0]


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (0, 255, 0)])
def test_on_another_background_the_error_is_far_below_the_hard_edges(color):
    picture, alpha = draw_disc()
    mask = alpha > 0.5
    truth = alpha[..., None] * ORANGE + (1 - alpha[..., None]) * np.float32(color)
    soft = cut_out(picture, mask, color, estimate_matte(picture, mask))
    errors = [np.abs(result - truth).mean() for result in (cut_out(picture, mask, color), soft)]
    assert errors[1] < 0.5 * errors[0]


def test_a_golden_case():
    """Half of column 9 is orange, which the mask counts as the object; the rest is pure."""
    picture = np.zeros((40, 20, 3), np.uint8)
    picture[:, :10], picture[:, 10:] = ORANGE, BLUE
    picture[:, 9] = (ORANGE + BLUE) / 2
    mask = np.zeros((40, 20), np.bool_)
    mask[:, :10] = True
    matte = estimate_matte(picture, mask)
    golden = np.array([255] * 9 + [166, 9, 5, 2] + [0] * 7)  # exact: 128 in column 9, then 0
    assert np.abs(matte.alpha - golden).max() <= 1
    transparent = cut_out(picture, mask, "transparent", matte)
    np.testing.assert_array_equal(transparent[..., 3], matte.alpha)
    assert not transparent[:, 13:].any()


def test_a_hard_picture_keeps_its_hard_edge():
    picture, alpha = draw_disc(blur=0)
    mask = alpha > 0.5
    picture = np.where(mask[..., None], ORANGE, BLUE).astype(np.uint8)
    for color in ("black", "white", "#00ff00", "transparent", "blur"):
        soft = cut_out(picture, mask, color, estimate_matte(picture, mask))
        np.testing.assert_array_equal(soft, cut_out(picture, mask, color))


@st.composite
def pictures(draw):
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    image = draw(arrays.arrays(np.uint8, (height, width, 3)))
    small = draw(arrays.arrays(np.bool_, (draw(st.integers(1, 6)), draw(st.integers(1, 6)))))
    large = cv2.resize(small.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return image, large > 0


@settings(deadline=None)
@given(pictures(), st.sampled_from(["black", "white", "#20c040", "transparent", "blur"]))
def test_away_from_the_edge_nothing_differs_from_the_hard_one(picture, background):
    image, mask = picture
    copies = image.copy(), mask.copy()
    matte = estimate_matte(image, mask)
    result = cut_out(image, mask, background, matte)
    far = find_far(mask, 8)
    if mask.all() or not mask.any():
        far[:] = True
    np.testing.assert_array_equal(matte.alpha[far], 255 * mask.astype(np.uint8)[far])
    np.testing.assert_array_equal(matte.colors[far], image[far])
    if background == "blur":
        far &= mask  # the blurred background may follow the wider edge
    np.testing.assert_array_equal(result[far], cut_out(image, mask, background)[far])
    for array, copy in zip((image, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_large_picture_is_fitted_small_and_has_full_detail():
    """Twelve times as many pixels: the edge's width is found, and tiles meet without a seam."""
    picture, alpha = draw_disc(1600, 4, 500, noise=3)
    mask = alpha > 0.5
    matte = estimate_matte(picture, mask)
    assert np.abs(matte.alpha / 255 - alpha).mean() < 0.4 * np.abs(mask - alpha).mean()
    (band,) = find_bands(mask, 7 * 1100 / 640)
    assert (matte.alpha == 255 * mask.astype(np.uint8))[~band].mean() > 0.99


def test_a_mask_that_vanishes_at_working_size_keeps_its_hard_edge():
    image = np.full((4, 3000, 3), 90, np.uint8)
    mask = np.zeros((4, 3000), np.bool_)
    mask[1, ::9] = True
    matte = estimate_matte(image, mask)
    np.testing.assert_array_equal(matte.alpha, 255 * mask.astype(np.uint8))


def test_any_memory_layout():
    picture, alpha = draw_disc()
    mask = np.asfortranarray(alpha > 0.5)
    flipped = estimate_matte(np.asfortranarray(picture), mask)
    plain = estimate_matte(picture, np.ascontiguousarray(mask))
    np.testing.assert_array_equal(flipped.alpha, plain.alpha)
    np.testing.assert_array_equal(flipped.colors, plain.colors)


@pytest.mark.parametrize(
    ("background", "edge", "is_soft"),
    [
        ("black", "auto", False),
        ("#000000", "auto", False),
        ("black", "soft", True),
        ("white", "auto", True),
        ("white", "hard", False),
        ("transparent", "auto", True),
        ("blur", "auto", True),
    ],
)
def test_which_edge_is_meant(background, edge, is_soft):
    picture, alpha = draw_disc()
    cutout = Cutout(background=background, edge=edge)
    result, kept = cut_out_by_settings(picture, alpha > 0.5, cutout)
    assert cutout.has_soft_edge == is_soft
    assert (kept is not None) == is_soft
    hard = cut_out(picture, alpha > 0.5, background)
    assert np.array_equal(result, hard) != is_soft


@pytest.mark.parametrize(
    ("kind", "background"),
    [*product(["png", "webp"], ["white", "transparent"]), ("jpeg", "white")],
)
def test_every_format_holds_it(kind, background):
    picture, alpha = draw_disc()
    result = cut_out(picture, alpha > 0.5, background, estimate_matte(picture, alpha > 0.5))
    with Image.open(io.BytesIO(encode_result(result, kind, Photo(picture)))) as image:
        assert image.mode == ("RGBA" if background == "transparent" else "RGB")
        read = np.asarray(image).astype(int)
    assert np.abs(read - result).mean() <= (2 if kind == "jpeg" else 0)
