"""One image to its row: real settings, the demo model with fixed random weights."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import bgexp
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.config.stages import Cutout
from bgexp.datasets.mask_rule import Truth
from bgexp.experiment.evaluate_image import evaluate_image, score_alpha
from bgexp.experiment.prepare import prepare
from bgexp.images.decode import decode_mask, encode_mask
from bgexp.metrics.matting import MATTING_METRICS
from bgexp.metrics.thresholds import THRESHOLDS
from bgexp.pipeline.cutout import cut_out_by_settings
from bgexp.pipeline.remove import RemovalResult


class BrokenDetector:
    """A detector whose network fails."""

    def for_file(self, *_names):
        raise ValueError("two\n lines")


@pytest.fixture
def prepared(fast, tmp_path):
    """The sample, copied, so that its files may be changed."""
    sample = shutil.copytree(Path(bgexp.__file__).parent / "sample", tmp_path / "sample")
    overrides = [word for word in fast if not word.startswith(("dataset", "refine"))]
    overrides += ["dataset=pairs", f"dataset.images={sample / 'images'}", "refine=grabcut"]
    overrides += [
        f"dataset.masks={sample / 'masks'}",
        f"runs_dir={tmp_path / 'runs'}",
        "cache.max_gb=0",
    ]
    return prepare(
        check_settings(RunSettings, resolve_config(compose_config("run", overrides, None)))
    )


def test_a_row_has_the_scores_of_its_mask(prepared):
    item = prepared.dataset.items[0]
    row, removed = evaluate_image(item, prepared.detector, prepared.settings)
    truth = decode_mask(item.mask.read_bytes())

    def iou(mask):
        return (mask & truth).sum() / (mask | truth).sum()

    assert (row.status, row.path, row.sha256) == ("ok", item.path, item.sha256)
    assert (row.height, row.width) == truth.shape == removed.mask.shape
    assert row.metrics["iou"] == pytest.approx(iou(removed.mask))
    assert row.unrefined["iou"] == pytest.approx(iou(removed.unrefined))
    own = THRESHOLDS.index(prepared.settings.combine.mask_threshold)
    assert row.threshold_scores["iou"][own] == row.unrefined["iou"]
    assert len(set(row.threshold_scores["iou"])) > 5
    assert row.checks["coverage"] == pytest.approx(removed.mask.mean())
    assert set(row.timings_ms) == {"load", "detect", "combine", "refine", "cutout"}


def test_an_image_that_changes_meanwhile(prepared):
    item = prepared.dataset.items[0]
    item.file.write_bytes(item.file.read_bytes() + b"\0")
    row, removed = evaluate_image(item, prepared.detector, prepared.settings)
    assert (row.status, row.reason) == ("failed", "the file changed after the run had begun")
    assert removed is None


def test_a_truth_of_another_size(prepared):
    item = prepared.dataset.items[0]
    item.mask.write_bytes(encode_mask(np.ones((2, 3), bool)))
    row, removed = evaluate_image(item, prepared.detector, prepared.settings)
    assert row.status == "failed"
    assert row.reason.startswith("its mask has 3x2 pixels, the upright image ")
    assert removed is None


def test_a_network_that_fails_is_told_in_one_line(prepared):
    row, removed = evaluate_image(prepared.dataset.items[0], BrokenDetector(), prepared.settings)
    assert (row.status, row.reason) == ("failed", "ValueError: two lines")
    assert (row.metrics, removed) == ({}, None)


def remove_disc(edge):
    """A disc out of focus with its exact alpha, cut out by the exact mask."""
    alpha = cv2.circle(np.zeros((120, 120), np.float32), (60, 60), 40, 1, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.5)[..., None]
    image = (alpha * (220, 150, 30) + (1 - alpha) * (40, 50, 190)).round().astype(np.uint8)
    levels = (255 * alpha[..., 0]).round().astype(np.uint8)
    mask, cutout = levels > 127, Cutout(edge=edge)
    pixels, kept = cut_out_by_settings(image, mask, cutout)
    nothing = np.zeros(0, np.float32)
    removed = RemovalResult(pixels, mask, mask, None, nothing, "off", "", {}, kept)
    return image, removed, Truth(mask, None, levels), cutout


def test_with_a_soft_truth_the_soft_edge_scores_better(prepared):
    scores = {}
    for edge in ("hard", "soft"):
        image, removed, truth, cutout = remove_disc(edge)
        settings = prepared.settings.replace(cutout=cutout)
        scores[edge] = score_alpha(image, removed, truth, settings)
        assert set(scores[edge]) == set(MATTING_METRICS)
        assert score_alpha(image, removed, Truth(truth.foreground), settings) == {}
    hard = np.abs(truth.foreground - truth.alpha / 255)
    assert scores["hard"]["alpha_sad"] == pytest.approx(hard.sum() / 1000)
    for key in ("alpha_sad", "alpha_mse", "alpha_gradient", "composite_error"):
        assert scores["soft"][key] < 0.5 * scores["hard"][key], key
