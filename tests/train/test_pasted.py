"""Subjects of photographs pasted over other photographs."""

import cv2
import numpy as np
import pytest

from bgexp.config.datasets import Pairs
from bgexp.datasets.read import read_dataset
from bgexp.metrics.overlap import iou
from bgexp.train import pasted
from bgexp.train.augment import Photographs
from bgexp.train.pasted import PastedSubjects, _is_subject

SIZE = 96
COLORS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


@pytest.fixture
def write_discs(tmp_path, write):
    """Give a function that writes two grey photographs of a disc of one colour each."""

    def make(x=32, radius=12):
        for name, color in COLORS.items():
            mask = np.zeros((96, 64), np.uint8)
            cv2.circle(mask, (x, 50), radius, 255, cv2.FILLED)
            image = np.where(mask[..., None] > 0, color, 128).astype(np.uint8)
            write(tmp_path / "images" / f"{name}.png", image)
            write(tmp_path / "masks" / f"{name}.png", mask)
        settings = Pairs(name="pairs", images=tmp_path / "images", masks=tmp_path / "masks")
        return Photographs(read_dataset(settings, 0).items, 200, {})

    return make


@pytest.fixture
def _plain(monkeypatch):
    """Leave the colours as they are."""
    monkeypatch.setattr(pasted, "light_layer", lambda *_: None)
    monkeypatch.setattr(pasted, "cast_shadow", lambda *_: None)
    monkeypatch.setattr(pasted, "shift_colours", lambda image, *_, **__: image)
    monkeypatch.setattr(pasted, "apply_camera", lambda canvas, _: canvas.astype(np.uint8))


@pytest.mark.usefixtures("_plain")
def test_the_truth_is_what_was_pasted_and_the_other_disc_is_background(write_discs):
    source, n_distractors = PastedSubjects([write_discs()], [1]), 0
    scenes = [source.draw(SIZE, np.random.default_rng(seed)) for seed in range(40)]
    for scene in [scene for scene in scenes if scene.image.shape == (SIZE, SIZE, 3)]:
        planes = scene.image.astype(int)
        red, blue = (planes[..., n] > planes[..., 2 - n] + 60 for n in (0, 2))
        subject, other = (red, blue) if iou(red, scene.foreground) > 0.5 else (blue, red)
        assert iou(subject, scene.foreground) > 0.85
        inner = cv2.erode(scene.foreground.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert not (other & inner).any()
        assert other.sum() < subject.sum()
        n_distractors += other.sum() > 10
    assert n_distractors > 10


def test_a_scene_follows_from_its_generator(write_discs):
    source = PastedSubjects([write_discs()], [1])
    first, second = (source.draw(SIZE, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.masks, second.masks)


def test_a_subject_cut_by_its_photograph_is_not_pasted(write_discs):
    source = PastedSubjects([write_discs(x=2)], [1])
    scenes = [source.draw(SIZE, np.random.default_rng(seed)) for seed in range(8)]
    assert all(scene.image.shape[1] < SIZE for scene in scenes)


def test_the_subject_is_larger_and_nearer_to_the_middle():
    def draw(x, radius):
        return cv2.circle(np.zeros((96, 96), np.uint8), (x, 48), radius, 1, cv2.FILLED) > 0

    assert _is_subject(draw(48, 20), draw(80, 10))
    assert _is_subject(draw(48, 20), draw(48, 15))  # which is behind it
    assert not _is_subject(draw(48, 20), draw(80, 19))
    assert not _is_subject(draw(78, 12), draw(48, 8))
    assert not _is_subject(draw(300, 12), draw(48, 8))
