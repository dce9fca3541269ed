import numpy as np
import pytest

from bgexp.experiment.difference import LEAKED, LOST
from bgexp.experiment.sample_picture import PANEL, draw_sample

GAP = 6


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
