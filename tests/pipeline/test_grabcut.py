"""GrabCut's own: what it learns from, what decides the edge, and when it is not believed."""

import cv2
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bgexp.config.stages import GrabCut
from bgexp.pipeline import grabcut
from bgexp.pipeline.grabcut import refine_mask_grabcut

RED, GREEN = (200, 60, 50), (60, 150, 70)
GRAIN = np.random.default_rng(0).normal(0, 6, (120, 160, 3))


def rectangle(top, bottom, left, right):
    mask = np.zeros((120, 160), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def paint(mask, inside=RED, outside=GREEN, grain=GRAIN):
    colors = np.where(mask[..., None], inside, outside) + grain
    return colors.clip(0, 255).astype(np.uint8)


TRUTH = rectangle(40, 80, 50, 110)
IMAGE = paint(TRUTH)
COARSE = rectangle(38, 82, 48, 112)  # 2 px too large, where the band is almost 4 px wide


def get_refusal(image, mask, settings):
    result = refine_mask_grabcut(image, mask, settings)
    np.testing.assert_array_equal(result.mask, mask)
    assert result.status == "refused"
    return result.reason


def split_gaussians(model):
    """Return weights, means and covariances in use of OpenCV's model."""
    weights, means, spreads = np.split(model.ravel(), [5, 20])
    is_used = weights > 0
    return weights[is_used], means.reshape(5, 3)[is_used], spreads.reshape(5, 3, 3)[is_used]


# -- colours ---------------------------------------------------------------------------------


def test_the_colours_are_those_of_both_sides():
    colors = grabcut._learn_colors(IMAGE, TRUTH, np.ones_like(TRUTH), 0)
    for model, color in ((colors.foreground, RED), (colors.background, GREEN)):
        weights, means, _ = split_gaussians(model)
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(weights @ means, color, atol=1)


def test_what_is_not_clear_is_not_learned():
    inner = rectangle(45, 75, 55, 105)
    ring = TRUTH & ~inner
    image = paint(ring, inside=(0, 0, 255), outside=0) + paint(inner) * ~ring[..., None]
    colors = grabcut._learn_colors(image, TRUTH, ~ring, 0)
    _, means, _ = split_gaussians(colors.foreground)
    assert (means[:, 2] < 100).all()


def test_densities_are_those_of_the_mixture():
    model = grabcut._learn_colors(IMAGE, TRUTH, np.ones_like(TRUTH), 0).foreground
    pixels = np.array([RED, (190, 70, 45), (205, 50, 60)], np.uint8)
    expected = sum(
        weight * multivariate_normal(mean, spread).pdf(pixels)
        for weight, mean, spread in zip(*split_gaussians(model), strict=True)
    )
    density = np.exp(grabcut._compute_log_density(model, pixels)) / (2 * np.pi) ** 1.5
    np.testing.assert_allclose(density, expected, rtol=1e-9)


def test_a_density_that_vanishes_still_has_an_order():
    model = grabcut._learn_colors(IMAGE, TRUTH, np.ones_like(TRUTH), 0).foreground
    near, far = grabcut._compute_log_density(
        model, np.array([(90, 160, 150), (0, 255, 255)], np.uint8)
    )
    assert np.isfinite([near, far]).all()
    assert near > far


def test_the_seed_reaches_grabcut(monkeypatch):
    seeds = []
    monkeypatch.setattr(cv2, "setRNGSeed", seeds.append)
    refine_mask_grabcut(IMAGE, COARSE, GrabCut(iterations=2), seed=7)
    assert seeds == [7, 7]


# -- the edge --------------------------------------------------------------------------------


def test_the_edge_is_where_the_colours_change():
    result = refine_mask_grabcut(IMAGE, COARSE)
    assert result.status == "applied"
    assert np.count_nonzero(result.mask ^ TRUTH) <= 4  # at most the corners


@pytest.mark.parametrize(("size", "narrower"), [(80, 4), (160, 2), (320, 1)])
def test_colours_weigh_more_where_the_picture_is_small(monkeypatch, size, narrower):
    models, covariances = [], []
    original, learn_colors = cv2.grabCut, grabcut._learn_colors

    def cut(*arguments):
        if arguments[-1] == cv2.GC_EVAL_FREEZE_MODEL:
            covariances.append(arguments[3][0, 20:].copy())
        return original(*arguments)

    def spy(*arguments):
        models.append(learn_colors(*arguments))
        return models[-1]

    monkeypatch.setattr(grabcut, "_learn_colors", spy)
    monkeypatch.setattr(cv2, "grabCut", cut)
    image = cv2.resize(IMAGE, (320, 240))
    mask = np.zeros((240, 320), np.bool_)
    mask[20:220, 20:300] = True  # so large that the window is the picture
    refine_mask_grabcut(image, mask, GrabCut(size=size))
    np.testing.assert_allclose(covariances[0], models[0].background[0, 20:] / narrower)


def test_more_iterations_learn_from_the_edge_found(monkeypatch):
    masks, learn_colors = [], grabcut._learn_colors
    monkeypatch.setattr(
        grabcut,
        "_learn_colors",
        lambda *arguments: masks.append(arguments[1]) or learn_colors(*arguments),
    )
    refine_mask_grabcut(IMAGE, COARSE, GrabCut(iterations=3))
    first, second, third = (np.count_nonzero(mask) for mask in masks)
    assert first > second == third  # the coarse mask, then the edge, which is found at once


# -- what is not believed --------------------------------------------------------------------


def test_a_band_without_an_edge():
    flat = paint(rectangle(55, 65, 75, 85), grain=0)
    assert get_refusal(flat, COARSE, GrabCut()) == "GrabCut found no edge in the band"


def test_colours_that_do_not_decide():
    noise = np.random.default_rng(0).integers(0, 256, IMAGE.shape, np.uint8)
    reason = get_refusal(noise, COARSE, GrabCut(band=0.2))
    assert reason.startswith("the colours agree with the edge found in ")
    assert reason.endswith("% of the band only")


def test_too_large_a_change():
    reason = get_refusal(IMAGE, COARSE, GrabCut(max_change=0.01))
    assert reason.startswith("it would change ")
    assert reason.endswith("% of the mask")
