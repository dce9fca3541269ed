import numpy as np
import pytest

from bgexp.metrics import thresholds
from bgexp.metrics.overlap import foreground_recall, iou, precision
from bgexp.metrics.thresholds import THRESHOLDS, score_thresholds


@pytest.mark.parametrize("strip", [1 << 24, 40])
@pytest.mark.parametrize("seed", range(4))
def test_each_threshold_scores_as_its_own_mask(seed, strip, monkeypatch):
    monkeypatch.setattr(thresholds, "_EXACT", strip)  # large pictures are counted in strips
    rng = np.random.default_rng(seed)
    soft, truth = rng.random((13, 17)), rng.random((13, 17)) < 0.4
    void = rng.random((13, 17)) < 0.2 if seed % 2 else None
    levels = sum(soft > t for t in THRESHOLDS).astype(np.uint8)
    scores = score_thresholds(levels, truth, void)
    for n, threshold in enumerate(THRESHOLDS):
        mask = soft > threshold
        assert scores["iou"][n] == iou(mask, truth, void)
        assert scores["precision"][n] == precision(mask, truth, void)
        assert scores["foreground_recall"][n] == foreground_recall(mask, truth, void)


def test_nothing_kept_and_nothing_there():
    empty = np.zeros((2, 3), np.uint8)
    scores = score_thresholds(empty, empty > 0)
    assert all(np.isnan(values).all() for values in scores.values())
    scores = score_thresholds(empty, empty == 0)
    assert set(scores["iou"]) == set(scores["foreground_recall"]) == {0.0}
    assert np.isnan(scores["precision"]).all()


def test_unequal_shapes():
    with pytest.raises(ValueError, match="unequal shapes"):
        score_thresholds(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.bool_))
