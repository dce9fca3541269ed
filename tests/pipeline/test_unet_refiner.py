import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.config.stages import UNet
from bgexp.pipeline.unet_refiner import STRIDE, find_surroundings, refine_mask_unet


class BrightnessPredictor:
    """Predicts bright pixels as foreground, and keeps its inputs."""

    def __init__(self, share=1.0):
        self.share = share

    def predict(self, picture, coarse):
        self.picture, self.coarse = picture, coarse
        bright = picture[::2, ::2].mean(axis=2) / 255
        return (self.share * bright).astype(np.float32)


def make_scene(height=300, width=400, box=(100, 200, 120, 260)):
    """Make a white box on black, as image and truth."""
    truth = np.zeros((height, width), bool)
    truth[box[0] : box[1], box[2] : box[3]] = True
    return np.repeat(truth[..., None] * np.uint8(255), 3, axis=2), truth


def measure_overlap(first, second):
    return (first & second).sum() / (first | second).sum()


@st.composite
def boxes(draw):
    height, width = draw(st.integers(1, 80)), draw(st.integers(1, 80))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


@given(boxes(), st.floats(0, 1))
def test_the_surroundings_hold_the_mask_and_are_as_square_as_the_picture_allows(mask, margin):
    rows, columns = find_surroundings(mask, margin)
    assert mask[rows, columns].sum() == mask.sum()
    height, width = mask[rows, columns].shape
    assert (height, width) == (rows.stop - rows.start, columns.stop - columns.start)
    side = max(height, width)
    assert height in {side, mask.shape[0]}
    assert width in {side, mask.shape[1]}


def test_a_margin_is_a_share_of_the_longer_side():
    _, truth = make_scene()  # 100 x 140 pixels around row 150, column 190
    rows, columns = find_surroundings(truth, 0.1)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (170, 170)
    assert abs((rows.start + rows.stop) / 2 - 150) <= 1
    assert abs((columns.start + columns.stop) / 2 - 190) <= 1


def test_the_mask_is_made_anew_where_the_network_sees_the_object():
    image, truth = make_scene()
    shifted = np.roll(truth, (8, -12), axis=(0, 1))
    refined = refine_mask_unet(image, shifted, BrightnessPredictor())
    assert (refined.status, refined.reason) == ("applied", "")
    assert measure_overlap(shifted, truth) < 0.8
    assert measure_overlap(refined.mask, truth) > 0.95


@pytest.mark.parametrize("size", [(40, 400), (400, 40), (17, 23)])
def test_what_the_network_sees(size):
    image, truth = make_scene(*size, box=(5, 12, 3, 20))
    network = BrightnessPredictor()
    refine_mask_unet(image, truth, network, UNet(size=128, grabcut=False))
    assert network.picture.shape == (*network.coarse.shape, 3)
    assert network.picture.dtype == network.coarse.dtype == np.uint8
    assert all(side % STRIDE == 0 and side > 0 for side in network.coarse.shape)
    assert max(network.coarse.shape) == 128
    assert network.coarse.max() == 255


def test_a_wider_margin_shows_more_of_the_picture():
    image, truth = make_scene()  # the box has 100 x 140 of 300 x 400 pixels
    shares = []
    for margin in (0.0, 0.25, 5.0):
        network = BrightnessPredictor()
        refine_mask_unet(image, truth, network, UNet(margin=margin, grabcut=False))
        shares.append((network.coarse > 127).mean())
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(truth.mean(), rel=0.05)  # all of it


def test_the_margin_of_the_defaults_is_a_quarter():
    assert UNet().margin == 0.4  # the shipped network was trained around it


def test_the_threshold():
    image, truth = make_scene()
    network = BrightnessPredictor(share=0.6)
    assert refine_mask_unet(image, truth, network).mask.any()
    refused = refine_mask_unet(image, truth, network, UNet(threshold=0.7))
    assert (refused.status, refused.reason) == ("refused", "the network finds no object there")
    np.testing.assert_array_equal(refused.mask, truth)


def test_nothing_outside_the_surroundings():
    image, truth = make_scene()
    image[:20, :20] = 255  # bright, and far from the mask
    refined = refine_mask_unet(image, truth, BrightnessPredictor())
    assert not refined.mask[:20, :20].any()


def test_what_nobody_asked_for_is_left_out():
    image, truth = make_scene()
    image[110:190, 80:114] = 255  # beside the box, not touching it
    image[140:150, 260:300] = 255  # a stalk that grows out of it: its first tenth of 140 pixels
    refined = refine_mask_unet(
        image, truth, BrightnessPredictor(), UNet(size=512, reach=0.1, grabcut=False)
    )
    assert not refined.mask[:, :114].any()
    assert refined.mask[145, 262:270].all()
    assert not refined.mask[:, 278:].any()
    further = refine_mask_unet(
        image, truth, BrightnessPredictor(), UNet(size=512, reach=0.3, grabcut=False)
    )
    assert further.mask[145, 262:290].all()


def test_nothing_to_refine():
    image, truth = make_scene()
    assert refine_mask_unet(image, np.zeros_like(truth), BrightnessPredictor()).status == "skipped"
    assert refine_mask_unet(image, np.ones_like(truth), BrightnessPredictor()).status == "skipped"
