"""Who wins and whether that is enough: simulated scores, an independent interval, settings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from bgexp.errors import UserError
from bgexp.metrics.performance import METRICS
from bgexp.promote import gates
from bgexp.promote.gates import (
    Constraint,
    Gain,
    Metric,
    compute_confidence,
    compute_gain,
    hold_out,
    read_constraints,
    read_metric,
)

IOU = Metric("iou", "mean")
SD, IMAGES = 0.05, 200  # of a paired difference; in a simulated dataset


def is_best_promoted(rng, variants, better_by=0.0):
    """Return whether the best of equal variants replaces an equal champion, by the actual rules.

    A variant's score on an image differs from the champion's by noise of SD.
    """
    champion = rng.uniform(0.6, 0.9, IMAGES)
    scores = champion + better_by + rng.normal(0, SD, (variants, IMAGES))
    paths = [f"c{n % 7}/{n}.jpg" for n in range(IMAGES)]
    held_out = hold_out(paths, 0.3, seed=0)
    confirm = np.array([path in held_out for path in paths])
    means = {str(n): IOU.aggregate(row[~confirm]) for n, row in enumerate(scores)}
    winner = scores[int(IOU.find_best(means))]
    return compute_gain(
        champion[confirm], winner[confirm], IOU, compute_confidence(variants)
    ).enough


def test_the_best_of_16_equal_variants_is_rarely_promoted():
    rng = np.random.default_rng(0)
    assert sum(is_best_promoted(rng, 16) for _ in range(100)) <= 10


def test_a_real_gain_is_promoted_all_the_same():
    rng = np.random.default_rng(1)
    assert sum(is_best_promoted(rng, 16, better_by=0.04) for _ in range(50)) >= 48


def test_the_interval_is_scipys():
    rng = np.random.default_rng(2)
    before, change = rng.uniform(0.5, 0.9, 150), rng.normal(0.01, SD, 150)
    result = compute_gain(before, before + change, IOU, 0.95)
    plain = bootstrap((change,), np.mean, n_resamples=20_000, method="percentile", rng=rng)
    assert result.low == pytest.approx(plain.confidence_interval.low, abs=5e-4)
    assert result.high == pytest.approx(plain.confidence_interval.high, abs=5e-4)
    assert result.gain == pytest.approx(change.mean())


def test_what_is_better_when_lower_counts_the_other_way():
    before, after = np.array([0.30, 0.20, 0.25, 0.3]), np.array([0.1, 0.1, 0.12, 0.2])
    leak = compute_gain(before, after, Metric("background_leakage", "mean"), 0.95)
    assert leak.gain == pytest.approx(0.1325)
    assert leak.low > 0
    assert Metric("mae", "mean").find_best({"a": 0.2, "b": 0.1}) == "b"
    assert IOU.find_best({"a": 0.2, "b": 0.1, "c": 0.2}) == "a"


def test_undefined_pairs_do_not_count_and_too_few_are_not_enough():
    result = compute_gain([0.5, math.nan, 0.5], [0.9, 0.9, math.nan], IOU, 0.95)
    assert (result.n, result.gain) == (1, pytest.approx(0.4))
    assert math.isnan(result.low)
    assert not result.enough


@pytest.mark.parametrize(("step", "enough"), [(0.0, True), (-0.004, True), (-0.006, False)])
def test_the_margin(step, enough):
    before = np.linspace(0.5, 0.75, 20)
    assert compute_gain(before, np.round(before + step, 9), IOU, 0.95).enough == enough


@given(st.lists(st.floats(0, 1), min_size=4, max_size=30), st.sampled_from(["median", "p05"]))
def test_the_same_scores_win_nothing(values, statistic):
    result = compute_gain(values, values, Metric("iou", statistic), 0.95)
    assert (result.gain, result.low, result.high) == (0, 0, 0)


def test_images_are_held_out_by_category():
    paths = [f"{category}/{n}.jpg" for category in "abcd" for n in range(10)]
    held_out = hold_out(paths, 0.3, seed=1)
    assert sorted(path[0] for path in held_out) == sorted("abcd" * 3)
    assert held_out == hold_out(paths[::-1], 0.3, seed=1) != hold_out(paths, 0.3, seed=2)


def test_the_more_variants_the_surer():
    assert (compute_confidence(1), compute_confidence(10)) == (0.95, 0.995)


def test_what_is_written():
    assert read_metric("boundary_iou.p05") == Metric("boundary_iou", "p05")
    assert read_constraints(None) == []
    assert read_constraints("images_per_s>=2, foreground_recall.p05 > .9") == [
        Constraint("images_per_s", ">=", 2),
        Constraint("foreground_recall.p05", ">", 0.9),
    ]
    assert Constraint("a", "<=", 2).is_met(2.0)
    assert not Constraint("a", ">=", 2).is_met(math.nan)


@pytest.mark.parametrize("text", ["iou", "iou.best", "checks.coverage.mean", "images_per_s", ""])
def test_no_metric(text):
    with pytest.raises(UserError, match=r"metric: no such metric .*boundary_iou"):
        read_metric(text)


@pytest.mark.parametrize("text", ["fast", "iou.mean=0.5", "iou.mean>", "iou.mean>=0.5 dice>=1"])
def test_no_condition(text):
    with pytest.raises(UserError, match="expected KEY>=NUMBER"):
        read_constraints(text)


def test_what_is_no_metric_is_told_with_what_is():
    statistics = "with .mean, .median, .p05, .p95"
    allowed = f"allowed: win_rate, or one of {', '.join(METRICS)} {statistics}"
    for text, hint in (("checks.a.mean", "; checks never choose"), ("iou.best", "")):
        with pytest.raises(UserError) as error:
            read_metric(text)
        assert str(error.value) == f"metric: no such metric (got {text}; {allowed}{hint})"
    with pytest.raises(UserError, match=r"; checks never choose\)$"):
        read_metric("check.a.mean")


def test_where_every_image_gains_alike_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(gates, "bootstrap_interval", None)
    before = np.array([0.25, 0.5, 0.75])  # as few as may be
    result = compute_gain(before, before + 0.125, IOU, 0.9)
    assert result == Gain(3, 0.5, 0.625, 0.125, 0.125, 0.125, 0.9)


def test_the_statistic_of_no_images_is_undefined():
    assert math.isnan(IOU.aggregate(np.array([])))
