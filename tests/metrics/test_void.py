"""Pixels that are neither object nor background are left out of every metric."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bgexp.metrics import performance
from bgexp.metrics.agreement import compute_phi
from bgexp.metrics.performance import METRICS, evaluate_performance

EPSILON = np.finfo(float).eps

triples = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda shape: st.tuples(*[arrays(bool, shape) for _ in range(3)])
)
quads = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda shape: st.tuples(*[arrays(bool, shape) for _ in range(4)])
)


def is_same(value, expected):
    return value == pytest.approx(expected, abs=1e-7, nan_ok=True)


def divide(part, whole):
    return part / whole if whole else math.nan


# -- an independent reference: the pixels that are not void, as a list -----------------------------


def list_known(mask, truth, void):
    """(row, column, mask, truth) of each pixel that is not void."""
    return [(r, c, bool(mask[r, c]), bool(truth[r, c])) for r, c in np.argwhere(~void).tolist()]


def slow_counts(pixels):
    p = np.array([pixel[2] for pixel in pixels], bool)
    g = np.array([pixel[3] for pixel in pixels], bool)
    both, either = (p & g).sum(), (p | g).sum()
    return {
        "iou": divide(both, either),
        "dice": divide(2 * both, p.sum() + g.sum()),
        "precision": divide(both, p.sum()),
        "foreground_recall": divide(both, g.sum()),
        "background_leakage": divide((p & ~g).sum(), p.sum()),
        "mae": float(np.mean(p != g)) if len(p) else math.nan,
    }


def slow_boundary_iou(pixels, shape):
    """A pixel is in a band where one within reach is not in the mask, void or beyond the image."""
    reach = max(1, round(0.02 * math.hypot(*shape)))
    steps = list(product(range(-reach, reach + 1), repeat=2))

    def find_band(place):
        inside = {pixel[:2] for pixel in pixels if pixel[place]}
        return {(r, c) for r, c in inside if any((r + a, c + b) not in inside for a, b in steps)}

    mask_band, truth_band = find_band(2), find_band(3)
    return divide(len(mask_band & truth_band), len(mask_band | truth_band))


def slow_s_measure(pixels):
    if not pixels:
        return math.nan
    p = np.array([pixel[2] for pixel in pixels], float)
    g = np.array([pixel[3] for pixel in pixels], bool)
    if not g.any() or g.all():
        return float(p.mean()) if g.all() else float(1 - p.mean())

    def score_object(values):
        deviation = values.std(ddof=1) if len(values) > 1 else 0.0
        return 2 * values.mean() / (values.mean() ** 2 + 1 + deviation)

    object_score = g.mean() * score_object(p[g]) + (~g).mean() * score_object(1 - p[~g])
    places = np.array([pixel[:2] for pixel in pixels])
    middle = [round(float(places[g, axis].mean())) for axis in (0, 1)]
    region_score = 0.0
    for low, left in product((True, False), repeat=2):
        inside = ((places[:, 0] <= middle[0]) == low) & ((places[:, 1] <= middle[1]) == left)
        if inside.any():
            region_score += inside.mean() * slow_ssim(p[inside], g[inside].astype(float))
    return max(0.0, (object_score + region_score) / 2)


def slow_ssim(p, g):
    x, y, n = p.mean(), g.mean(), max(len(p) - 1, 1)
    covariance = ((p - x) * (g - y)).sum() / n
    bound = (x**2 + y**2) * (((p - x) ** 2).sum() + ((g - y) ** 2).sum()) / n
    return 4 * x * y * covariance / (bound + EPSILON) if bound else 1.0


def slow_e_measure(pixels):
    p = np.array([pixel[2] for pixel in pixels], float)
    g = np.array([pixel[3] for pixel in pixels], float)
    if len(p) <= 1:
        return math.nan
    if g.all() or not g.any():
        return float((p if g.all() else 1 - p).sum() / (len(p) - 1))
    a, b = p - p.mean(), g - g.mean()
    return float(((2 * a * b / (a**2 + b**2 + EPSILON) + 1) ** 2 / 4).sum() / (len(p) - 1))


def slow_weighted_f(pixels):
    values = {(r, c): (p, g) for r, c, p, g in pixels}
    true = [place for place, (_, g) in values.items() if g]
    if not true:
        return 0.0 if any(p for p, _ in values.values()) else math.nan
    kernel = {(a, b): math.exp(-(a * a + b * b) / 50) for a, b in product(range(-3, 4), repeat=2)}
    total = sum(kernel.values())

    def find_nearest(place):
        def order(t):
            step = t[0] - place[0], t[1] - place[1]
            return step[0] ** 2 + step[1] ** 2, step[1], step[0]

        return min(true, key=order)

    def find_error(place):
        p, g = values[place]
        return p != g if g else not values[find_nearest(place)][0]

    lost, extra = 0.0, 0.0
    for (r, c), (p, g) in values.items():
        if g and not p:
            around = {step: (r + step[0], c + step[1]) for step in kernel}
            mean = sum(kernel[s] * find_error(q) for s, q in around.items() if q in values) / total
            lost += min(1.0, mean)
        elif p and not g:
            extra += 2 - 0.5 ** (math.dist((r, c), find_nearest((r, c))) / 5)
    recalled = max(0.0, len(true) - lost)
    return 2 * recalled / (len(true) + recalled + extra)


@given(triples)
def test_metrics_are_those_of_the_pixels_that_are_not_void(triple):
    mask, truth, void = triple
    pixels = list_known(mask, truth, void)
    expected = slow_counts(pixels) | {
        "boundary_iou": slow_boundary_iou(pixels, mask.shape),
        "s_measure": slow_s_measure(pixels),
        "e_measure": slow_e_measure(pixels),
        "weighted_f": slow_weighted_f(pixels),
    }
    scores = evaluate_performance(mask, truth, void)
    assert tuple(scores) == METRICS
    for name, value in scores.items():
        assert is_same(value, expected[name]), name


@given(quads)
def test_what_lies_in_void_changes_nothing(planes):
    mask, truth, void, other = planes
    scores = evaluate_performance(mask, truth, void)
    assert is_same(evaluate_performance(mask ^ (other & void), truth, void), scores)
    assert is_same(evaluate_performance(mask, truth ^ (other & void), void), scores)


@given(triples)
def test_without_void_nothing_changes(planes):
    mask, truth, _ = planes
    assert is_same(
        evaluate_performance(mask, truth, np.zeros_like(mask)), evaluate_performance(mask, truth)
    )


def test_all_void_is_undefined():
    planes = np.ones((3, 4), bool)
    assert all(math.isnan(v) for v in evaluate_performance(planes, planes, planes).values())
    assert math.isnan(compute_phi(planes, planes, planes))


@pytest.mark.parametrize("name", METRICS)
def test_a_void_of_another_layout_is_refused(name):
    planes = np.ones((3, 4), bool)
    for void in (np.ones((4, 3), bool), np.ones((3, 4), np.uint8)):
        with pytest.raises(ValueError, match="expected HxW bool"):
            getattr(performance, name)(planes, planes, void)


def test_phi():
    mask = np.array([[True, True], [False, False]])
    assert compute_phi(mask, mask) == 1
    assert compute_phi(mask, ~mask) == -1
    assert compute_phi(mask, mask.T) == 0
    assert math.isnan(compute_phi(mask, np.ones_like(mask)))
    assert compute_phi(mask, np.array([[True, False], [False, True]]), mask & ~mask.T) == 1 / 2
