import math

import numpy as np
import pytest

from bgexp.sweep.effects import (
    collect_scores,
    compute_lead,
    measure_disagreement,
    measure_effects,
    name_jobs,
    rank_jobs,
)
from bgexp.sweep.findings import find_sweep_findings

SPREAD = [0.7, 0.75, 0.8, 0.85, 0.9, 0.72, 0.83, 0.88]


def improve_scores(by):
    return [iou + by for iou in SPREAD]


def find_by_title(jobs, word):
    """The one finding whose title has a word."""
    [finding] = [finding for finding in find_sweep_findings(jobs) if word in finding.title]
    return finding


def test_the_best_and_by_how_much(job):
    jobs = [job("refine=none", SPREAD), job("refine=grabcut", improve_scores(0.05))]
    finding = find_sweep_findings(jobs)[0]
    assert (finding.severity, finding.title) == ("result", "refine=grabcut is best")
    assert "0.854" in finding.evidence  # mean of SPREAD is 0.80375
    assert "ahead of refine=none by +0.050" in finding.evidence
    assert finding.setting == "refine=grabcut"
    assert compute_lead(jobs).change == pytest.approx(0.05)
    assert [ranked.name for ranked in rank_jobs(jobs)] == ["refine=grabcut", "refine=none"]


def test_a_lead_that_may_be_chance_is_called_so(job):
    apart = np.array([0.1, -0.1] * 4) + 0.001
    jobs = [job("seed=1", SPREAD), job("seed=2", list(np.array(SPREAD) + apart))]
    finding = find_by_title(jobs, "leads")
    assert finding.title == "seed=2 leads, but that is undecided"
    assert "+0.001" in finding.evidence
    few = [job("seed=1", SPREAD[:5]), job("seed=2", improve_scores(0.05)[:5])]
    assert "too few for an interval" in find_by_title(few, "leads").evidence


def test_compared_are_only_images_that_both_have(job):
    jobs = [job("seed=1", [math.nan, *SPREAD]), job("seed=2", [0.1, *improve_scores(0.05)])]
    assert [ranked.name for ranked in rank_jobs(jobs)] == [
        "seed=2",
        "seed=1",
    ]  # against the plain means
    assert compute_lead(jobs).n == 8
    assert compute_lead(jobs).change == pytest.approx(0.05)


def test_jobs_that_broke(job):
    broke = job("seed=3", [], status="failed", error="UserError: no weights")
    finding = find_sweep_findings(
        [job("seed=1", SPREAD), job("seed=2", improve_scores(0.05)), broke]
    )[0]
    assert (finding.severity, finding.title) == ("problem", "1 of 3 jobs did not finish well")
    assert finding.evidence == "seed=3: UserError: no weights."
    [alone] = find_sweep_findings([broke, broke])[:1]
    assert alone.severity == "problem"


def test_without_truth_nothing_is_best(job):
    jobs = [job("seed=1", [None] * 6), job("seed=2", [None] * 6)]
    [finding] = find_sweep_findings(jobs)
    assert finding.title == "Without truth no job is the best one"
    assert compute_lead(jobs) is None


# -- what settings do ----------------------------------------------------------------------------


def grid(job):
    """IoU rises by 0.06 with refinement and by 0.02 with the threshold, on every image."""
    return [
        job(
            f"refine={refine} score={score}",
            improve_scores(0.06 * (refine == "b") + 0.02 * (score == 2)),
        )
        for refine in "ab"
        for score in (1, 2)
    ]


def test_effects_of_a_grid(job):
    first, second = measure_effects(grid(job))
    assert (first.key, first.worst, first.best) == ("refine", "a", "b")
    assert first.change.change == pytest.approx(0.06)
    assert list(first.values["n_jobs"]) == [2, 2]
    assert list(first.values["iou"]) == pytest.approx(
        [np.mean(SPREAD) + 0.01 + d for d in (0, 0.06)]
    )
    assert (second.key, second.change.change) == ("score", pytest.approx(0.02))
    assert find_by_title(grid(job), "matters").title == "refine matters most: b over a"


def test_a_job_that_broke_does_not_tilt_an_effect(job):
    jobs = grid(job)[:3]  # b with 2 is not there: the plain means would give score -0.01
    effects = {effect.key: effect for effect in measure_effects(jobs)}
    assert effects["score"].change.change == pytest.approx(0.02)
    assert effects["refine"].change.change == pytest.approx(0.06)


def test_a_setting_that_never_varies_alone(job):
    jobs = [
        job("refine=none", SPREAD),
        job("refine=grabcut band=1", improve_scores(0.01)),
        job("refine=grabcut band=2", improve_scores(0.03)),
    ]
    effects = {effect.key: effect for effect in measure_effects(jobs)}
    assert effects["band"].change.change == pytest.approx(0.02)
    assert (effects["band"].worst, effects["band"].best) == ("1", "2")
    assert effects["refine"].change.n == 0
    assert not effects["refine"].clear
    assert list(effects["refine"].values["n_jobs"]) == [1, 2]


def test_a_setting_without_effect(job):
    jobs = [job("seed=1", SPREAD), job("seed=2", improve_scores(0.002))]
    [effect] = measure_effects(jobs)
    assert effect.change.low > 0  # sure, but of no use
    assert not effect.clear
    assert find_by_title(jobs, "No clear effect of seed").evidence.startswith(
        "seed, 1 to 2: +0.002"
    )


def test_effects_without_truth_are_those_on_checks(job):
    [effect] = measure_effects([job("seed=1", [None] * 6), job("seed=2", [None] * 6)])
    assert list(effect.values["check.coverage"]) == pytest.approx([0.3, 0.3])
    assert effect.change.n == 0


# -- images --------------------------------------------------------------------------------------


def test_images_that_no_job_can_do(job):
    jobs = [job("seed=1", [0.1, 0.4, *SPREAD]), job("seed=2", [0.3, 0.6, *SPREAD])]
    finding = find_by_title(jobs, "in every job")
    assert finding.title == "1 image below an IoU of 0.5 in every job"
    assert finding.paths == ("00.jpg",)
    assert "10.0% of the images; the best job reaches 0.300" in finding.evidence


def test_images_on_which_jobs_disagree(job):
    jobs = [job("seed=1", [0.9, 0.2, 0.6, 0.8]), job("seed=2", [0.5, 0.9, 0.7, 0.8])]
    assert measure_disagreement(jobs).to_dict() == pytest.approx(
        {"01.jpg": 0.7, "00.jpg": 0.4, "02.jpg": 0.1, "03.jpg": 0.0}
    )
    finding = find_by_title(jobs, "disagree")
    assert finding.title == "The jobs disagree on 2 images"
    assert finding.paths == ("01.jpg", "00.jpg")
    assert "by 0.70 at most; on a typical image by 0.250" in finding.evidence


def test_a_job_that_is_quicker_and_nearly_as_good(job):
    jobs = [job("seed=1", SPREAD, speed=8.0), job("seed=2", improve_scores(0.02), speed=2.0)]
    finding = find_by_title(jobs, "times as fast")
    assert finding.title == "seed=1 is 4.0 times as fast and 0.020 behind"
    assert finding.setting == "seed=1"
    for quick in (job("seed=1", improve_scores(-0.1), speed=8.0), job("seed=1", SPREAD, speed=2.5)):
        assert not any("times as fast" in f.title for f in find_sweep_findings([quick, jobs[1]]))


def test_scores_side_by_side(job):
    scores = collect_scores([job("a=1", [0.1, None, 0.3]), job("a=2", []), job("a=3", [0.5])])
    assert list(scores.columns) == ["a=1", "a=2", "a=3"]
    assert scores.loc["00.jpg"].dropna().to_dict() == {"a=1": 0.1, "a=3": 0.5}
    assert scores.loc["01.jpg"].isna().all()


def test_names_are_unique():
    overrides = [["a.b=1", "c=2"], ["a.b=2", "c=2"], ["a.b=2", "c=2"]]
    assert name_jobs(overrides) == ["b=1", "b=2 #1", "b=2 #2"]
    assert name_jobs([["a=1"]]) == ["#0"]
    assert name_jobs([]) == []
