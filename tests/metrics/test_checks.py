"""Checks without a truth: a slow reference, cases worked by hand, refusals."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bgexp.metrics.checks import CHECKS, check_mask

NAN = math.nan
NO_SCORES = np.zeros(0)
EMPTY, FULL = np.zeros((4, 4), bool), np.ones((4, 4), bool)

mask_pairs = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def parse_mask(text):
    """A mask from rows of `#` (foreground) and `.`."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def is_same(value, expected):
    return value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def list_points(mask):
    return set(zip(*(line.tolist() for line in np.nonzero(mask)), strict=True))


def list_neighbours(point):
    return {(point[0] + dr, point[1] + dc) for dr, dc in product((-1, 0, 1), repeat=2)}


def compute_share(part, whole):
    return len(part) / len(whole) if whole else NAN


def slow_parts(mask):
    """Number of 8-connected components, by flooding from each point not yet reached."""
    todo, n = list_points(mask), 0
    while todo:
        n += 1
        frontier = {todo.pop()}
        while frontier:
            frontier = set().union(*(list_neighbours(p) for p in frontier)) & todo
            todo -= frontier
    return n


@given(mask_pairs)
def test_checks_equal_the_slow_reference(pair):
    mask, unrefined = pair
    rows, columns = mask.shape
    everything = set(product(range(rows), range(columns)))
    border = {(r, c) for r, c in everything if r in (0, rows - 1) or c in (0, columns - 1)}
    assert is_same(
        check_mask(mask, unrefined, NO_SCORES),
        {
            "coverage": compute_share(list_points(mask), everything),
            "nothing_found": 0.0 if list_points(mask) else 1.0,
            "parts": slow_parts(mask),
            "border_contact": compute_share(list_points(mask) & border, border),
            "confidence": NAN,
            "refined_share": compute_share(list_points(mask) ^ list_points(unrefined), everything),
        },
    )


@given(mask_pairs)
def test_flips_and_transposition_change_nothing(pair):
    expected = check_mask(*pair, NO_SCORES)
    for turn in (np.flipud, np.fliplr, np.transpose, np.asfortranarray, np.rot90):
        assert is_same(check_mask(*(turn(mask) for mask in pair), NO_SCORES), expected)


def test_checks_by_hand():
    mask = parse_mask("#...# .#... ..... ....# ....#")
    unrefined = parse_mask("#.... .#... .#... ....# ....#")
    result = check_mask(mask, unrefined, np.array([0.5, 0.9, 1.0], np.float32))
    assert tuple(result) == CHECKS
    assert result == pytest.approx(
        {
            "coverage": 5 / 25,
            "nothing_found": 0,
            "parts": 3,  # the diagonal pair, the corner, the pair at the right
            "border_contact": 4 / 16,  # all but the pixel at 1, 1
            "confidence": 0.8,
            "refined_share": 2 / 25,  # (0, 4) came, (2, 1) went
        }
    )


def test_checks_of_empty_and_full():
    assert is_same(
        check_mask(EMPTY, FULL, NO_SCORES), dict(zip(CHECKS, (0, 1, 0, 0, NAN, 1), strict=True))
    )
    assert is_same(
        check_mask(FULL, FULL, np.ones(1)), dict(zip(CHECKS, (1, 0, 1, 1, 1, 0), strict=True))
    )


@pytest.mark.parametrize("bad", [np.ones((1, 4), bool), np.ones((4, 4)), np.ones((0, 4), bool)])
def test_checks_refuse_other_masks(bad):
    for pair in ((bad, FULL), (FULL, bad)):
        with pytest.raises(ValueError, match=r"^expected HxW bool, got "):
            check_mask(*pair, NO_SCORES)


def test_checks_write_nothing_and_give_floats():
    before = FULL.copy()
    before.setflags(write=False)
    checks = check_mask(before, EMPTY, np.array([0.5], np.float32))
    assert np.array_equal(before, FULL)
    assert {type(value) for value in checks.values()} == {float}


@pytest.mark.parametrize("scores", [np.ones((2, 1)), np.ones(2, int), np.float64(1)])
def test_checks_refuse_other_scores(scores):
    with pytest.raises(ValueError, match=r"^expected \(N,\) float, got "):
        check_mask(FULL, FULL, scores)
