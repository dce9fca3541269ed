import numpy as np
import pytest

from bgexp.batch.size_rules import STABLE_IOU, handle_size
from bgexp.config.batch import QualityRules
from bgexp.config.stages import Cutout
from bgexp.detect.detections import Detections
from bgexp.pipeline.cutout import cut_out
from bgexp.pipeline.remove import RemovalResult

RULES = QualityRules(huge_megapixels=0.01, tiny_side=32, elongation=4)
NOISE = np.random.default_rng(0).integers(1, 256, (300, 500, 3), dtype=np.uint8)


def no_detections(height, width):
    empty = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
    masks = np.zeros((0, 28, 28), np.uint8)
    return Detections(
        **empty, scores=np.zeros(0, np.float32), masks=masks, height=height, width=width
    )


class Remover:
    """A detector that takes `look(image)` for the foreground and records its images."""

    def __init__(self, look, refined="off"):
        self.look, self.refined, self.images = look, refined, []

    def __call__(self, image):
        self.images.append(image)
        mask = self.look(image)
        return RemovalResult(
            cut_out(image, mask),
            mask,
            mask,
            no_detections(*mask.shape),
            np.array([0.9, 0.7], np.float32),
            self.refined,
            "",
            {"detect": 1.0},
        )


def left_half(image):
    mask = np.zeros(image.shape[:2], bool)
    mask[:, : image.shape[1] // 2] = True
    return mask


def select_bright(image):
    return image[..., 0] > 127


def test_nothing_out_of_the_ordinary():
    remove = Remover(select_bright)
    image = NOISE[:40, :60]
    handling = handle_size(image, [], RULES, remove, Cutout())
    assert len(remove.images) == 1
    assert remove.images[0] is image
    assert np.array_equal(handling.mask, select_bright(image))
    assert np.array_equal(handling.cutout, cut_out(image, select_bright(image)))
    assert (handling.handling, handling.stable, handling.refused) == ("", True, False)
    assert handling.timings_ms == {"detect": 1.0}
    assert handling.checks["coverage"] == select_bright(image).mean()
    assert handling.checks["confidence"] == pytest.approx(0.8)
    assert handle_size(image, [], RULES, Remover(select_bright, "refused"), Cutout()).refused


@pytest.mark.parametrize("background", ["black", "white", "transparent"])
def test_of_a_huge_image_pixels_stay_bit_equal(background):
    remove = Remover(left_half)
    handling = handle_size(
        NOISE, ["huge"], RULES, remove, Cutout(background=background, edge="hard")
    )
    height, width = remove.images[0].shape[:2]
    assert height * width <= 10_000
    assert (height, width) == (77, 129)  # 300 and 500 times the root of 0.01 / 0.15
    assert handling.handling == "mask found at 129x77 pixels"
    assert handling.mask.shape == (300, 500)
    assert handling.mask.dtype == bool
    assert abs(int(handling.mask.sum()) - 300 * 250) <= 300 * 4
    assert np.array_equal(handling.cutout[..., :3][handling.mask], NOISE[handling.mask])
    paint = {"black": [0] * 3, "white": [255] * 3, "transparent": [0] * 4}[background]
    assert (handling.cutout[~handling.mask] == paint).all()


def test_masks_of_huge_images_reach_the_edges():
    whole = Remover(lambda image: np.ones(image.shape[:2], bool))
    assert handle_size(NOISE, ["huge"], RULES, whole, Cutout()).mask.all()
    empty = Remover(lambda image: np.zeros(image.shape[:2], bool))
    assert not handle_size(NOISE, ["huge"], RULES, empty, Cutout()).mask.any()


@pytest.mark.parametrize("shape", [(1, 1), (20, 31), (7, 3), (31, 20)])
def test_a_tiny_image_is_padded_by_its_border(shape):
    image = NOISE[: shape[0], : shape[1]]
    remove = Remover(select_bright)
    handling = handle_size(image, ["tiny"], RULES, remove, Cutout())
    [padded] = remove.images
    assert padded.shape == (32, 32, 3)
    up, left = (32 - shape[0]) // 2, (32 - shape[1]) // 2
    outside = ((up, 32 - shape[0] - up), (left, 32 - shape[1] - left), (0, 0))
    assert np.array_equal(padded, np.pad(image, outside, mode="edge"))
    assert np.array_equal(handling.mask, select_bright(image))
    assert np.array_equal(handling.cutout, cut_out(image, select_bright(image)))
    assert handling.handling == "padded to 32x32 pixels"
    assert handling.stable


def test_a_tiny_image_is_looked_at_once():
    remove = Remover(select_bright)
    assert (
        "twice"
        not in handle_size(NOISE[:4, :31], ["tiny", "elongated"], RULES, remove, Cutout()).handling
    )
    assert len(remove.images) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_an_elongated_image_is_looked_at_twice(turned):
    image = NOISE[:10, :80]
    image = image.transpose(1, 0, 2) if turned else image
    remove = Remover(select_bright)
    handling = handle_size(image, ["elongated"], RULES, remove, Cutout())
    plain, padded = remove.images
    assert plain is image
    assert sorted(padded.shape[:2]) == [20, 80]
    assert np.array_equal(padded[5:15] if not turned else padded[:, 5:15], image)
    assert np.array_equal(handling.mask, select_bright(image))
    assert handling.handling == "looked at twice, once padded: the masks agree to IoU 1.00"
    assert handling.stable


def test_two_looks_that_disagree():
    def select_alternately(image):
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : 79 if image.shape[0] == 10 else share] = True
        return mask

    for share, stable in ((0, False), (63, False), (64, True), (79, True)):
        handling = handle_size(
            NOISE[:10, :80], ["elongated"], RULES, Remover(select_alternately), Cutout()
        )
        assert handling.stable == stable
        assert handling.stable == (share / 79 >= STABLE_IOU)
        assert handling.handling.endswith(f"IoU {share / 79:.2f}")
        assert handling.mask.sum() == 10 * 79  # the first look counts
    empty = Remover(lambda image: np.zeros(image.shape[:2], bool))
    assert handle_size(NOISE[:10, :80], ["elongated"], RULES, empty, Cutout()).stable


def test_huge_and_elongated():
    remove = Remover(left_half)
    handling = handle_size(NOISE[:50], ["huge", "elongated"], RULES, remove, Cutout())
    small, padded = remove.images
    assert small.shape == (31, 316, 3)
    assert padded.shape == (79, 316, 3)
    assert handling.mask.shape == (50, 500)
    assert handling.handling.startswith("mask found at 316x31 pixels; looked at twice")
    assert np.array_equal(handling.cutout[handling.mask], NOISE[:50][handling.mask])
