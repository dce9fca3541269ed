import math

import numpy as np
import pandas as pd
import pytest

from bgexp.sweep.effect_charts import draw_effect
from bgexp.sweep.effects import compare_with_best, measure_effects
from bgexp.sweep.run_result import RunResult


def make_job(override, ious, **columns):
    rows = {"path": [f"{n}.jpg" for n in range(len(ious))], "iou": ious, **columns}
    return RunResult(override, override.split(), {"status": "finished"}, pd.DataFrame(rows))


@pytest.fixture
def jobs():
    """Three thresholds of ten images: the middle one is best, the lowest worse in every image."""
    base = np.linspace(0.5, 0.9, 10)
    shifts = {"0.3": -0.2, "0.5": 0.0, "0.7": -0.01}
    wobble = np.where(np.arange(10) % 2, 0.05, -0.05)
    return [
        make_job(f"combine.mask_threshold={t}", base + shift + wobble * (t == "0.7"))
        for t, shift in shifts.items()
    ]


def test_each_value_against_the_best_one(jobs):
    [effect] = measure_effects(jobs)
    changes = compare_with_best(effect, "iou")
    assert next(iter(changes)) == "0.5"
    assert changes["0.5"].change == changes["0.5"].high == 0
    assert changes["0.3"].change == pytest.approx(-0.2)
    assert changes["0.3"].high < 0 < changes["0.7"].high
    iou = draw_effect(effect)[0]
    assert (iou.title, iou.note) == ("IoU", "best at 0.5: 0.700")
    [line] = iou.chart.lines
    assert [dot.label.partition(" (")[0] for dot in line.dots] == [
        "0.3: 0.500",
        "0.5: 0.700",
        "0.7: 0.690",
    ]
    assert iou.chart.level == pytest.approx(line.dots[1].y)
    assert line.points
    assert line.band


def test_where_lower_is_better(jobs):
    leakages = (0.3, 0.2, 0.1)
    made = [
        make_job(job.name, job.rows["iou"], background_leakage=np.full(10, leakage))
        for job, leakage in zip(jobs, leakages, strict=True)
    ]
    [effect] = measure_effects(made)
    [leakage] = [part for part in draw_effect(effect) if part.title == "Background leakage"]
    assert leakage.note == "best at 0.7: 0.100"


def test_words_have_no_curve():
    made = [make_job(f"refine={name}", np.full(6, 0.5)) for name in ("none", "unet")]
    assert draw_effect(measure_effects(made)[0]) == []


def test_values_that_never_vary_alone_are_dots():
    made = [make_job(f"a={n} b={n * n}", np.full(6, n / 10)) for n in range(1, 5)]
    for effect in measure_effects(made):
        [line] = draw_effect(effect)[0].chart.lines
        assert (line.points, line.band, len(line.dots)) == ("", "", 4)


def test_without_truth_there_is_no_best():
    nothing = np.full(6, math.nan)
    made = [
        make_job(f"a={n}", nothing, **{"check.coverage": np.full(6, n / 10)}) for n in range(1, 4)
    ]
    [effect] = measure_effects(made)
    coverage = draw_effect(effect)[0]
    assert (coverage.title, coverage.note, coverage.chart.level) == ("Coverage", "", None)
    assert coverage.chart.lines[0].points
