"""What runs are called."""

import pytest

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.tracking.run_names import find_varied_keys, name_run, name_sweep


def settings(*overrides):
    return check_settings(RunSettings, resolve_config(compose_config("run", overrides, None)))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["refine=grabcut"], "demo · score 0.6 · grabcut"),
        (["refine=none", "detector.score_threshold=0.25"], "demo · score 0.25 · no refinement"),
        (["detector=rembg", "refine=none"], "rembg · u2netp · no refinement"),
        (["detector=rembg", "detector.model=/a/b/mine.onnx"], "rembg · mine.onnx · unet"),
    ],
)
def test_a_run_is_called_by_what_it_is(overrides, name):
    assert name_run(settings(*overrides)) == name


def test_what_differs_stands_first():
    jobs = [
        settings(f"detector.score_threshold={score}", f"refine={refine}", "runs_dir=a")
        for score in (0.5, 0.8)
        for refine in ("none", "grabcut")
    ]
    varied = find_varied_keys(jobs)
    assert varied == ["detector.score_threshold", "refine.name"]
    assert [name_run(job, varied) for job in jobs] == [
        "score 0.5 · no refinement · demo",
        "score 0.5 · grabcut · demo",
        "score 0.8 · no refinement · demo",
        "score 0.8 · grabcut · demo",
    ]


def test_any_setting_that_differs_is_named():
    jobs = [
        settings("refine=grabcut", "refine.band=0.03", "combine.instances=largest", "seed=1"),
        settings("refine=grabcut", "refine.band=0.06", "combine.instances=all", "seed=1"),
    ]
    varied = find_varied_keys(jobs)
    assert varied == ["combine.instances", "refine.band"]
    names = [name_run(job, varied) for job in jobs]
    assert names[0] == "instances largest · band 0.03 · demo · score 0.6 · grabcut"
    assert names[1] == "instances all · band 0.06 · demo · score 0.6 · grabcut"


def test_what_one_has_and_another_lacks_is_told_by_its_kind():
    jobs = [settings("refine=none"), settings("refine=grabcut"), settings("refine=guided")]
    assert find_varied_keys(jobs) == ["refine.name"]


def test_where_a_run_lies_is_no_difference():
    jobs = [settings("runs_dir=a", "force=true", "tracking.experiment=x"), settings("runs_dir=b")]
    assert find_varied_keys(jobs) == []


def test_switches_and_missing_values_are_words():
    jobs = [settings("refine.grabcut=true"), settings("refine.grabcut=false")]
    varied = find_varied_keys(jobs)
    assert [name_run(job, varied).split(" · ")[0] for job in jobs] == ["grabcut on", "grabcut off"]


@pytest.mark.parametrize(
    ("varied", "name"),
    [
        (["detector.score_threshold", "refine.name"], "sweep of score, refine · 2026"),
        (["detector.name", "refine.band"], "sweep of detector, band · 2026"),
        ([], "sweep of nothing · 2026"),
    ],
)
def test_a_sweep_is_called_by_what_differs_in_it(varied, name):
    assert name_sweep(varied, "2026") == name
