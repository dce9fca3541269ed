"""Overlap scores worked by hand, and the boundary band against scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from bgexp.metrics.overlap import _find_band, boundary_iou, iou
from bgexp.metrics.performance import evaluate_performance


def parse_mask(text):
    """A mask from rows of `#` (foreground) and `.`."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def is_same(value, expected):
    return value == pytest.approx(expected, abs=1e-12)


def test_counts_by_hand():
    mask = parse_mask("##.. ##.. .... ...#")
    truth = parse_mask(".##. .##. .##. ....")
    # |P| = 5, |G| = 6, both = 2 (column 1 of rows 0 and 1), either = 5 + 6 - 2 = 9, pixels = 16.
    # No pixel has all of its eight neighbours in its mask: the bands (d = 1) are the masks.
    expected = {
        "iou": 2 / 9,
        "dice": 4 / 11,
        "precision": 2 / 5,
        "foreground_recall": 2 / 6,
        "background_leakage": 3 / 5,
        "mae": 7 / 16,  # 3 pixels too many, 4 too few
        "boundary_iou": 2 / 9,
    }
    scores = evaluate_performance(mask, truth)
    assert is_same({key: scores[key] for key in expected}, expected)


def test_boundary_iou_by_hand():
    mask = parse_mask("..... ###.. ###.. ###.. .....")
    truth = parse_mask("..... .###. .###. .###. .....")
    # d = max(1, round(0.02 * 7.07)) = 1. Each band is its 3x3 square without the centre: 8 pixels.
    # The squares share 6 pixels, two of which are a centre: 4 in both bands, 8 + 8 - 4 in either.
    assert is_same(boundary_iou(mask, truth), 4 / 12)
    assert is_same(iou(mask, truth), 6 / 12)


def test_the_image_edge_is_a_boundary():
    full = np.ones((5, 5), bool)
    centre = parse_mask("..... .###. .###. .###. .....")
    # The band of the full mask is the outermost ring; that of the 3x3 square is the ring inside it.
    assert boundary_iou(full, centre) == 0.0
    assert is_same(iou(full, centre), 9 / 25)


def test_band_width_follows_the_image_diagonal_and_halves_go_to_even():
    full = np.ones((75, 100), bool)
    inner = np.zeros((75, 100), bool)
    inner[1:-1, 1:-1] = True
    # Diagonal 125, 0.02 * 125 = 2.5, rounded to 2. In rings counted from the edge the bands are
    # rings 1 and 2, and 2 and 3. Ring 1: 75*100 - 73*98 = 346, ring 2: 73*98 - 71*96 = 338,
    # ring 3: 71*96 - 69*94 = 330. So 338 / (346 + 338 + 330).
    assert is_same(boundary_iou(full, inner), 338 / 1014)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("seed", range(4))
def test_one_square_erodes_like_that_many_steps(width, seed):
    noise = np.random.default_rng(seed).normal(size=(60, 90))
    mask = ndimage.gaussian_filter(noise, 2 + 2 * seed) > -0.03
    mask[:, : 20 * (seed % 2)] = False  # the bounding box ends inside the image in half the cases
    steps = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
    distance = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    band = _find_band(mask, width)
    assert np.array_equal(band, mask & ~steps)
    assert np.array_equal(band, mask & (distance <= width))
