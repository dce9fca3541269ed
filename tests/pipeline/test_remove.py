from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from bgexp.config.stages import Combine, Cutout, GrabCut
from bgexp.detect.detections import Detections, Selection
from bgexp.pipeline.refine import refine_mask
from bgexp.pipeline.remove import remove_background

HEIGHT, WIDTH = 60, 80


@dataclass
class RectangleDetector:
    """A detector that finds whatever it is told: boxes with their labels and scores."""

    boxes_with_scores: tuple[tuple[tuple[int, int, int, int], int, float], ...]
    selection: Selection = field(default_factory=partial(Selection, 0.5))

    def detect(self, image):
        n = len(self.boxes_with_scores)
        return Detections(
            boxes=np.array([box for box, _, _ in self.boxes_with_scores], np.float32).reshape(n, 4),
            labels=np.array([label for _, label, _ in self.boxes_with_scores], np.int64),
            scores=np.array([score for _, _, score in self.boxes_with_scores], np.float32),
            masks=np.full((n, 28, 28), 255, np.uint8),
            height=image.shape[0],
            width=image.shape[1],
        )


LEFT, RIGHT = ((4, 10, 24, 50), 1, 0.9), ((50, 20, 70, 40), 2, 0.6)


def picture(seed=0):
    return np.random.default_rng(seed).integers(1, 256, (HEIGHT, WIDTH, 3), np.uint8)


def rectangle(*boxes):
    """Pixels that the boxes cover; a pasted mask reaches its box's last pixel, up to one."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def is_about(mask, truth):
    return (mask & truth).sum() >= 0.9 * (mask | truth).sum()


def test_the_cutout_is_the_image_inside_and_black_outside():
    image = picture()
    before = image.copy()
    removed = remove_background(image, RectangleDetector((LEFT,)))
    assert is_about(removed.mask, rectangle(LEFT[0]))
    assert (removed.cutout[removed.mask] == image[removed.mask]).all()
    assert not removed.cutout[~removed.mask].any()
    assert (removed.refined, removed.fallback) == ("off", "")
    np.testing.assert_array_equal(image, before)


def test_without_refinement_the_mask_is_the_detectors():
    removed = remove_background(picture(), RectangleDetector((LEFT, RIGHT)))
    np.testing.assert_array_equal(removed.mask, removed.unrefined)
    assert is_about(removed.mask, rectangle(LEFT[0], RIGHT[0]))


def test_nothing_found_is_a_black_picture():
    removed = remove_background(picture(), RectangleDetector(()), refine=GrabCut())
    assert removed.mask.shape == (HEIGHT, WIDTH)
    assert not removed.mask.any()
    assert not removed.cutout.any()
    assert removed.scores.shape == (0,)
    assert (removed.refined, removed.fallback) == ("skipped", "the mask is empty")


def test_every_stage_is_timed():
    timings = remove_background(picture(), RectangleDetector((LEFT,))).timings_ms
    assert list(timings) == ["detect", "combine", "refine", "cutout"]
    assert all(0 <= value < 60_000 for value in timings.values())
    assert sum(timings.values()) > 0


@pytest.mark.parametrize(
    ("threshold", "labels", "boxes"),
    [
        (0.5, None, [LEFT, RIGHT]),
        (0.7, None, [LEFT]),
        (0.95, None, []),
        (0.5, frozenset({2}), [RIGHT]),
        (0.5, frozenset({3}), []),
        (0.7, frozenset({2}), []),
    ],
)
def test_score_and_label_choose(threshold, labels, boxes):
    detector = RectangleDetector((LEFT, RIGHT), Selection(threshold, labels=labels))
    removed = remove_background(picture(), detector)
    assert is_about(removed.mask, rectangle(*(box for box, _, _ in boxes)))
    assert removed.scores.tolist() == pytest.approx([score for _, _, score in boxes], abs=1e-5)


def test_scores_are_those_of_the_detections_in_the_mask():
    small_first = RectangleDetector(((RIGHT[0], 1, 0.8), (LEFT[0], 1, 0.7)))
    removed = remove_background(picture(), small_first, Combine(instances="largest"))
    assert is_about(removed.mask, rectangle(LEFT[0]))
    assert removed.scores.tolist() == pytest.approx([0.7])


def test_the_background_is_the_one_asked_for():
    image = picture()
    detector = RectangleDetector((LEFT,))
    white = remove_background(image, detector, cutout=Cutout(background="white", edge="hard"))
    assert (white.cutout[~white.mask] == 255).all()
    assert white.alpha is None
    clear = remove_background(image, detector, cutout=Cutout(background="transparent"))
    np.testing.assert_array_equal(clear.cutout[..., 3], clear.alpha)
    np.testing.assert_array_equal(clear.mask, white.mask)


def scene():
    """A red thing of 20x40 on green; the detector's box is too wide by 3 pixels on all sides."""
    image = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH, 3))
    truth = rectangle((24, 10, 44, 50))
    image += np.where(truth[..., None], (190, 60, 50), (60, 150, 70))
    return (
        image.clip(0, 255).astype(np.uint8),
        truth,
        RectangleDetector((((21, 7, 47, 53), 1, 0.9),)),
    )


def test_grabcut_moves_the_mask_to_the_edge():
    image, truth, detector = scene()
    removed = remove_background(image, detector, refine=GrabCut(band=0.15))
    before = (removed.unrefined & truth).sum() / (removed.unrefined | truth).sum()
    after = (removed.mask & truth).sum() / (removed.mask | truth).sum()
    assert before < 0.75
    assert after > 0.9
    assert (removed.refined, removed.fallback) == ("applied", "")
    assert (removed.cutout[removed.mask] == image[removed.mask]).all()
    assert not removed.cutout[~removed.mask].any()


def test_a_refinement_that_changes_too_much_is_not_taken():
    image, _, detector = scene()
    removed = remove_background(image, detector, refine=GrabCut(band=0.15, max_change=0.01))
    assert removed.refined == "refused"
    assert "would change" in removed.fallback
    np.testing.assert_array_equal(removed.mask, removed.unrefined)


def test_the_seed_reaches_the_refinement_and_decides_it(monkeypatch):
    image, _, detector = scene()
    seeds = []

    def spy(*arguments, seed):
        seeds.append(seed)
        return refine_mask(*arguments, seed=seed)

    monkeypatch.setattr("bgexp.pipeline.remove.refine_mask", spy)
    settings = GrabCut(band=0.15)
    first, two = (remove_background(image, detector, refine=settings, seed=7) for _ in range(2))
    assert seeds == [7, 7]
    np.testing.assert_array_equal(first.mask, two.mask)
    np.testing.assert_array_equal(first.cutout, two.cutout)
