import math

import numpy as np
import pytest

from bgexp.metrics import METRICS
from bgexp.results import Row
from bgexp.samples import LEAKED, LOST, PANEL, choose_samples, draw_sample

GAP = 6


def row(number, iou=None, status="ok", coverage=0.5):
    metrics = {} if iou is None else dict.fromkeys(METRICS, 0.5) | {"iou": iou}
    checks = {"coverage": coverage} if status == "ok" else {}
    return Row(f"{number}.jpg", "", "", status, metrics=metrics, checks=checks)


def ious(rows):
    return [row.metrics["iou"] for row in rows]


def test_the_worst_come_first_and_the_rest_is_spread():
    rows = [row(n, iou) for n, iou in enumerate([0.9, 0.1, 0.8, 0.3, 0.7, 0.2, 0.6, 0.5, 0.4])]
    chosen = choose_samples(rows, 6)
    assert ious(chosen) == [0.1, 0.2, 0.3, 0.9, 0.7, 0.4]  # of 6 others number 0, 2.5 and 5
    assert ious(choose_samples(rows, 1)) == [0.1]
    assert ious(choose_samples(rows, 2)) == [0.1, 0.9]


@pytest.mark.parametrize("count", range(12))
def test_as_many_as_asked_for_each_once(count):
    rows = [row(n, n / 10) for n in range(9)]
    chosen = choose_samples(rows, count)
    assert len(chosen) == min(count, 9)
    assert len({row.path for row in chosen}) == len(chosen)


def test_failed_rows_are_left_out():
    rows = [row(0, status="failed"), row(1, 0.5), row(2, status="failed"), row(3, 0.4)]
    assert ious(choose_samples(rows, 6)) == [0.4, 0.5]
    assert choose_samples(rows[:1], 6) == []
    assert choose_samples([], 6) == []


def test_without_truth_those_that_found_least_come_first():
    rows = [row(n, coverage=coverage) for n, coverage in enumerate([0.4, 0.0, 0.2, 0.1])]
    assert [row.path for row in choose_samples(rows, 4)[:2]] == ["1.jpg", "3.jpg"]


def test_an_empty_mask_on_an_empty_truth_is_not_among_the_worst():
    rows = [row(0, math.nan, coverage=0.0), row(1, 0.6), row(2, 0.7)]
    assert [row.path for row in choose_samples(rows, 2)] == ["1.jpg", "0.jpg"]
    assert [row.path for row in choose_samples(rows, 3)] == ["1.jpg", "2.jpg", "0.jpg"]


def case():
    """8x10: object in columns 2 to 6, found in columns 4 to 8."""
    image = np.random.default_rng(0).integers(30, 256, (8, 10, 3), np.uint8)
    truth, mask = np.zeros((2, 8, 10), bool)
    truth[:, 2:7], mask[:, 4:9] = True, True
    return image, mask, truth


def test_panels_of_a_case_worked_by_hand():
    image, mask, truth = case()
    picture = draw_sample(image, mask, truth)
    assert (picture.shape, picture.dtype) == ((8, 4 * 10 + 3 * GAP, 3), np.uint8)
    original, grey, cut, difference = (picture[:, n * (10 + GAP) :][:, :10] for n in range(4))
    assert (picture[:, 10 : 10 + GAP] == 255).all()
    np.testing.assert_array_equal(original, image)
    np.testing.assert_array_equal(grey, np.repeat(255 * mask[..., None], 3, axis=2))
    np.testing.assert_array_equal(cut, image * mask[..., None])
    assert (difference[:, 2:4] == LOST).all()
    assert (difference[:, 7:9] == LEAKED).all()
    unmarked = ~(mask ^ truth)
    np.testing.assert_array_equal(difference[unmarked], image[unmarked] // 3)


def test_lost_is_red_and_leaked_is_blue():
    assert np.argmax(LOST) == 0
    assert np.argmax(LEAKED) == 2


def test_without_truth_there_are_three_panels_and_the_image_is_left_as_it_is():
    image, mask, _ = case()
    before = image.copy()
    assert draw_sample(image, mask, None).shape == (8, 3 * 10 + 2 * GAP, 3)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("size", "panel"), [((900, 600), (PANEL, 240)), ((720, 1), (PANEL, 1)), ((2000, 1), (PANEL, 1))]
)
def test_large_pictures_are_made_small(size, panel):
    picture = draw_sample(np.zeros((*size, 3), np.uint8), np.ones(size, bool), np.ones(size, bool))
    assert picture.shape == (panel[0], 4 * panel[1] + 3 * GAP, 3)
