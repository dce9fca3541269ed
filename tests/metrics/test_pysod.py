"""Every metric that PySODMetrics has against its own values, made by pysod_values.py."""

import json
import math

import numpy as np
import pytest

from bgexp.metrics.performance import METRICS, evaluate_performance
from bgexp.metrics.saliency import e_measure


@pytest.fixture(scope="module")
def read_stored(pysod):
    """(mask, truth, PySODMetrics' values) by name."""
    values = json.loads(pysod["VALUES"].read_text())["pairs"]
    pairs = pysod["stored_pairs"]()
    assert values.keys() == pairs.keys()
    return {name: (*pairs[name], values[name]) for name in pairs}


def in_last_line(truth):
    """Whether the centroid is in the last row or column: two quadrants then have no pixels."""
    middles = [np.round(line.mean()) for line in np.nonzero(truth)]
    return any(middle == side - 1 for middle, side in zip(middles, truth.shape, strict=True))


def test_the_pairs_are_those_that_were_measured(read_stored, pysod):
    assert len(read_stored) >= 60
    for name, (mask, truth, values) in read_stored.items():
        assert pysod["digest"](mask, truth) == values["digest"], name


def test_every_value(read_stored):
    compared = dict.fromkeys(METRICS, 0)
    for name, (mask, truth, values) in read_stored.items():
        ours = evaluate_performance(mask, truth)
        for key in sorted(ours.keys() & values.keys()):
            if math.isnan(ours[key]):  # theirs is 0 for 0 / 0, and x / epsilon for one pixel
                assert values[key] == 0 or (key == "e_measure" and mask.size == 1), (name, key)
            elif values[key] is None:
                assert key == "s_measure", (name, key)
                assert in_last_line(truth), name
            else:
                assert ours[key] == pytest.approx(values[key], abs=1e-6), (name, key)
                compared[key] += 1
    not_theirs = {compared.pop(key) for key in ("boundary_iou", "background_leakage")}
    assert not_theirs == {0}
    assert all(n >= 50 for n in compared.values()), compared


def test_the_other_variants_of_e_follow_from_ours(read_stored):
    for name, (mask, truth, theirs) in read_stored.items():
        if mask.size == 1:
            continue
        ours, full = e_measure(mask, truth), e_measure(np.ones_like(mask), truth)
        assert theirs["e_adaptive"] == pytest.approx(ours if mask.any() else full), name
        assert theirs["e_mean"] == pytest.approx((255 * ours + full) / 256), name
        assert theirs["e_max"] == pytest.approx(max(ours, full)), name
