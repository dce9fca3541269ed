"""Which refinement a training recommends."""

import cv2
import numpy as np
import pytest

from bgexp.config.stages import UNet
from bgexp.train.refinements import RefinementScore, choose_refinement, score_refinements
from bgexp.train.scene import Scene


@pytest.fixture(scope="module")
def discs():
    """Give three scenes of a plain disc, the last of them empty, and masks that are too large."""
    scenes, masks = [], []
    for radius in (40, 50, 0):
        truth = np.zeros((160, 160), np.uint8)
        mask = truth.copy()
        if radius:
            cv2.circle(truth, (80, 80), radius, 1, cv2.FILLED)
            cv2.circle(mask, (80, 80), radius + 3, 1, cv2.FILLED)
        image = np.where(truth[..., None] > 0, (220, 40, 40), (30, 90, 30)).astype(np.uint8)
        scenes.append(Scene(image, truth[None] > 0, np.ones(1, np.int64)))
        masks.append(mask > 0)
    return scenes, masks


def test_each_refinement_is_scored_on_scenes_with_foreground(discs):
    scores = {score.name: score for score in score_refinements(*discs, UNet(size=96))}
    assert list(scores) == ["none", "guided", "grabcut", "unet"]
    expected = [(r / (r + 3)) ** 2 for r in (40, 50)]
    assert scores["none"].iou == pytest.approx(np.mean(expected), abs=0.01)
    assert scores["grabcut"].iou > scores["none"].iou + 0.05
    assert scores["grabcut"].boundary_iou > scores["none"].boundary_iou + 0.05


def test_the_best_by_both_scores_is_chosen_and_of_equal_ones_the_cheapest():
    none, guided = RefinementScore("none", 0.7, 0.5), RefinementScore("guided", 0.65, 0.6)
    grabcut = RefinementScore("grabcut", 0.65, 0.6)
    assert choose_refinement([none, guided, grabcut]) == "guided"
    assert choose_refinement([none, RefinementScore("unet", 0.5, 0.4)]) == "none"
