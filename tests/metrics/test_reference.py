"""Every metric against a slow reference written from its paper: sets of points, whole maps."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from bgexp.metrics.overlap import boundary_iou
from bgexp.metrics.performance import METRICS, evaluate_performance

NAN = math.nan
EPS = 2.0**-52  # in the authors' code of the structure and the alignment measure

small_pairs = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def list_points(mask):
    return set(zip(*(line.tolist() for line in np.nonzero(mask)), strict=True))


def list_neighbours(point):
    return {(point[0] + dr, point[1] + dc) for dr, dc in product((-1, 0, 1), repeat=2)}


def band_by_steps(mask, d):
    """Mask minus d erosions by 3x3: a point stays while all nine around it are in the set.

    Points outside the image are never in the set, which is the zero padding.
    """
    left = list_points(mask)
    for _ in range(d):
        left = {p for p in left if list_neighbours(p) <= left}
    return list_points(mask) - left


def compute_share(part, whole):
    return len(part) / len(whole) if whole else NAN


def slow_boundary_iou(mask, truth):
    d = max(1, round(0.02 * (mask.shape[0] ** 2 + mask.shape[1] ** 2) ** 0.5))
    p, g = band_by_steps(mask, d), band_by_steps(truth, d)
    return compute_share(p & g, p | g)


def object_similarity(values):
    mean, deviation = np.mean(values), np.std(values, ddof=1) if values.size > 1 else 0
    return 2 * mean / (mean**2 + 1 + deviation)


def ssim(p, g):
    """The paper's equation 6 in the authors' form; a quadrant without pixels counts nothing."""
    if p.size < 2:
        return 1.0
    (sp, spg), (_, sg) = np.cov(p.ravel(), g.ravel())
    x, y = np.mean(p), np.mean(g)
    alpha, beta = 4 * x * y * spg, (x**2 + y**2) * (sp + sg)
    if alpha != 0:
        return alpha / (beta + EPS)
    return 1.0 if beta == 0 else 0.0


def slow_s_measure(mask, truth):
    p, g = mask.astype(float), truth.astype(float)
    if not truth.any():
        return 1 - p.mean()
    if truth.all():
        return p.mean()
    u = g.mean()
    objects = u * object_similarity(p[truth]) + (1 - u) * object_similarity(1 - p[~truth])
    row, column = (int(np.round(np.mean(line))) + 1 for line in np.nonzero(truth))
    regions = 0.0
    for part in product((np.s_[:row], np.s_[row:]), (np.s_[:column], np.s_[column:])):
        regions += p[part].size / p.size * ssim(p[part], g[part])
    return max(0.0, 0.5 * objects + 0.5 * regions)


def slow_e_measure(mask, truth):
    p, g = mask.astype(float), truth.astype(float)
    if p.size == 1:
        return NAN
    if not truth.any():
        enhanced = 1 - p
    elif truth.all():
        enhanced = p
    else:
        a, b = p - p.mean(), g - g.mean()
        enhanced = (2 * a * b / (a * a + b * b + EPS) + 1) ** 2 / 4
    return enhanced.sum() / (p.size - 1)


def partners(where, g):
    """For each point the nearest of g: of equally near ones the leftmost, then the uppermost."""
    candidates = sorted(g, key=lambda c: (c[1], c[0]))
    steps = np.array(where)[:, None] - np.array(candidates)
    return [candidates[i] for i in (steps**2).sum(axis=2).argmin(axis=1)]  # the first of the least


def slow_weighted_f(mask, truth):
    """The paper's E' = min(E, E A) B, pixel by pixel."""
    p, g = list_points(mask), list_points(truth)
    if not g:
        return 0.0 if p else NAN
    where = list(np.ndindex(mask.shape))
    partner = dict(zip(where, partners(where, g), strict=True))
    error = {q: float((q in p) != (q in g)) for q in where}
    weight = {o: math.exp(-(o[0] ** 2 + o[1] ** 2) / 50) for o in product(range(-3, 4), repeat=2)}
    total = sum(weight.values())
    lost = extra = 0.0
    for q in where:
        if error[q] and q in g:
            window = ((q[0] + dr, q[1] + dc) for dr, dc in weight)
            blurred = sum(
                w * error[partner[n]]
                for n, w in zip(window, weight.values(), strict=True)
                if n in partner
            )
            lost += min(error[q], blurred / total)
        elif error[q]:
            extra += 2 - math.exp(math.log(0.5) / 5 * math.dist(q, partner[q]))
    recall, kept = 1 - lost / len(g), len(g) - lost
    precision = kept / (kept + extra) if kept + extra else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def slow_performance(mask, truth):
    p, g = list_points(mask), list_points(truth)
    return {
        "iou": compute_share(p & g, p | g),
        "dice": 2 * len(p & g) / (len(p) + len(g)) if p or g else NAN,
        "precision": compute_share(p & g, p),
        "foreground_recall": compute_share(p & g, g),
        "background_leakage": compute_share(p - g, p),
        "mae": sum(abs(float(a) - float(b)) for a, b in zip(mask.flat, truth.flat, strict=True))
        / (mask.shape[0] * mask.shape[1]),
        "boundary_iou": slow_boundary_iou(mask, truth),
        "s_measure": slow_s_measure(mask, truth),
        "e_measure": slow_e_measure(mask, truth),
        "weighted_f": slow_weighted_f(mask, truth),
    }


def test_random_and_degenerate_pairs(pairs):
    assert sum(name.startswith("random") for name in pairs) >= 200
    assert sum(not name.startswith("random") for name in pairs) >= 20
    for name, pair in pairs.items():
        expected = pytest.approx(slow_performance(*pair), abs=1e-7, nan_ok=True)
        assert evaluate_performance(*pair) == expected, name


@given(small_pairs)
def test_small_pairs(pair):
    score = evaluate_performance(*pair)
    assert tuple(score) == METRICS
    assert score == pytest.approx(slow_performance(*pair), abs=1e-7, nan_ok=True)


@pytest.mark.parametrize(
    ("shape", "d"), [((60, 80), 2), ((3, 160), 3), ((170, 5), 3), ((100, 180), 4)]
)
def test_wide_bands(shape, d):
    noise = np.random.default_rng(d).normal(size=(2, *shape))
    mask, truth = (ndimage.gaussian_filter(plane, 3) > -0.02 for plane in noise)
    expected = slow_boundary_iou(mask, truth)
    assert 0 < expected < 1
    assert boundary_iou(mask, truth) == pytest.approx(expected, abs=1e-12)
