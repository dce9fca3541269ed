import math

import numpy as np
import pytest

from bgexp.autotune.candidates import REFERENCE
from bgexp.autotune.measure import _summarize_candidate, measure_throughput
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.datasets.read import Item
from bgexp.errors import UserError


def test_with_truth_the_loss_is_paired():
    """Expect by hand, of losses 0.1, 0.3 and 0.2: mean 0.2, standard error 0.1 / sqrt(3)."""
    scores = np.array([[0.8, 0.5, np.nan, 0.7], [0.9, 0.8, np.nan, 0.9]])
    seconds = np.array([[1.0, 2, 3, 4], [2.0, 4, 6, 8]])
    measurement = _summarize_candidate({"a": 1}, seconds, np.array([0.9, 0.9, 1.0, 0.8]), scores)
    assert (measurement.ms, measurement.times_as_fast) == (2500, 2)
    assert measurement.agreement == pytest.approx(0.9)
    assert measurement.iou == pytest.approx(2 / 3)
    assert measurement.loss == pytest.approx(0.2)
    assert measurement.at_worst == pytest.approx(0.2 + 0.1 / math.sqrt(3))


def test_without_truth_the_loss_is_disagreement_with_fp32():
    no_truth = np.full((2, 2), np.nan)
    measurement = _summarize_candidate({}, np.ones((2, 2)), np.array([0.98, 0.94]), no_truth)
    assert math.isnan(measurement.iou)
    assert measurement.loss == pytest.approx(0.04)
    assert measurement.at_worst == pytest.approx(0.06)
    single = _summarize_candidate({}, np.ones((2, 1)), np.array([0.98]), no_truth[:, :1])
    assert single.at_worst == single.loss


@pytest.mark.slow
def test_work_that_always_fails_ends(tmp_path):
    config = resolve_config(
        compose_config("autotune", ["detector.image_size=64", "device=cpu"], None)
    )
    gone = Item("gone.jpg", ".", tmp_path / "gone.jpg", None, "", None)
    with pytest.raises(UserError, match=r"^gone\.jpg: ImageError: "):
        measure_throughput(check_settings(AutotuneSettings, config), [gone], REFERENCE, 2)
