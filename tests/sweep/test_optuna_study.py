"""A study in SQLite: what it proposes, what it keeps, and how it goes on after a kill."""

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from bgexp.config.sweep import OptunaSweep
from bgexp.errors import UserError
from bgexp.metrics.performance import LOWER_IS_BETTER, METRICS
from bgexp.sweep.optuna_space import Space
from bgexp.sweep.optuna_study import (
    ask_trial,
    count_ended,
    find_best_trials,
    find_interrupted_trials,
    open_study,
    read_objective,
    requeue_trial,
    tell_result,
)

SPACE = Space((), {"x": FloatDistribution(-1, 1), "kind": CategoricalDistribution(["a", "b"])})


def sweep(trials=20, objectives=("iou.mean",), study="s"):
    return OptunaSweep(name="optuna", study=study, trials=trials, objectives=objectives)


def summary(value, speed=1.0, status="finished"):
    return {"status": status, "metrics": {"iou": {"mean": value}}, "images_per_s": speed}


def make_scores(params):
    """The best is x = 0.5 with kind b."""
    return summary(1 - (params["x"] - 0.5) ** 2 - 0.3 * (params["kind"] == "a"))


def run_study(study, until, seed=0):
    while count_ended(study) < until:
        trial = ask_trial(study, SPACE, seed)
        tell_result(study, trial.number, ["iou.mean"], make_scores(trial.params))


def complete(study):
    return [t.params for t in study.get_trials() if t.state == TrialState.COMPLETE]


@pytest.fixture(scope="module")
def whole_study(tmp_path_factory):
    with open_study(tmp_path_factory.mktemp("whole"), sweep(), {}) as study:
        run_study(study, 14)
        return complete(study)


def test_it_finds_what_is_good(tmp_path):
    with open_study(tmp_path, sweep(), {}) as study:
        run_study(study, 40)
        [best] = find_best_trials(study)
    assert best.params["kind"] == "b"
    assert abs(best.params["x"] - 0.5) < 0.1


def test_the_seed_decides(tmp_path, whole_study):
    for name, seed in (("same", 0), ("other", 1)):
        with open_study(tmp_path / name, sweep(), {}) as study:
            run_study(study, 14, seed)
            assert (complete(study) == whole_study) == (seed == 0)


@pytest.mark.parametrize("at", [0, 5, 12])
@pytest.mark.parametrize("enqueued", [False, True])
def test_after_a_kill_it_proposes_what_it_would_have_proposed(tmp_path, whole_study, at, enqueued):
    with open_study(tmp_path, sweep(), {}) as study:
        run_study(study, at)
        lost = ask_trial(study, SPACE, 0)  # and the process is gone
        if enqueued:  # or it was gone while it closed the trial of an earlier process
            study.enqueue_trial(lost.params, user_attrs={"replaces": lost.number})
    with open_study(tmp_path, sweep(), {}) as study:
        [open_one] = find_interrupted_trials(study)
        assert open_one.number == lost.number
        requeue_trial(study, open_one)
        assert (find_interrupted_trials(study), count_ended(study)) == ([], at)
        again = ask_trial(study, SPACE, 0)
        assert again.params == lost.params
        tell_result(study, again.number, ["iou.mean"], make_scores(again.params))
        run_study(study, 14)
        assert complete(study) == whole_study
        assert len(study.get_trials()) == 15


def test_failed_jobs_count_and_teach_nothing(tmp_path):
    with open_study(tmp_path, sweep(), {}) as study:
        for end in (summary(None), summary(0.5, status="failed"), {"status": "failed"}):
            tell_result(study, ask_trial(study, SPACE, 0).number, ["iou.mean"], end)
        assert count_ended(study) == 3
        assert {trial.state for trial in study.get_trials()} == {TrialState.FAIL}
        assert find_best_trials(study) == []


def test_several_objectives_have_a_front(tmp_path):
    both = ("iou.mean", "images_per_s")
    with open_study(tmp_path, sweep(objectives=both), {}) as study:
        for value, speed in ((0.9, 1.0), (0.8, 2.0), (0.7, 1.5), (0.85, 0.5)):
            tell_result(study, ask_trial(study, SPACE, 0).number, both, summary(value, speed))
        assert {trial.number for trial in find_best_trials(study)} == {0, 1}


@pytest.mark.parametrize("metric", METRICS)
def test_the_better_direction_is_the_metrics_own(tmp_path, metric):
    objective = f"{metric}.p05"
    with open_study(tmp_path, sweep(objectives=(objective,)), {}) as study:
        for value in (0.2, 0.8):
            end = {"status": "finished", "metrics": {metric: {"p05": value}}}
            tell_result(study, ask_trial(study, SPACE, 0).number, [objective], end)
        [best] = find_best_trials(study)
    assert best.value == (0.2 if metric in LOWER_IS_BETTER else 0.8)


@pytest.mark.parametrize("objective", ["iou", "iou.maen", "checks.coverage", "coverage.mean", ""])
def test_no_such_objective(tmp_path, objective):
    with (
        pytest.raises(
            UserError, match=r"^sweep\.objectives: .*allowed: images_per_s, or one of iou"
        ),
        open_study(tmp_path / "s", sweep(objectives=(objective,)), {}),
    ):
        pass
    assert not (tmp_path / "s").exists()


def test_values_of_a_summary():
    assert read_objective("iou.mean", summary(0.5)) == 0.5
    assert read_objective("images_per_s", summary(0.5, 3)) == 3
    assert read_objective("dice.mean", summary(0.5)) is None
    assert read_objective("images_per_s", {}) is None


def test_only_the_same_goes_on(tmp_path):
    with open_study(tmp_path, sweep(), {"the images": "abc", "n": (1, 2)}):
        pass
    with open_study(tmp_path, sweep(trials=30), {"the images": "abc", "n": (1, 2)}):
        pass
    with (
        pytest.raises(UserError, match=r"^sweep\.study: s was begun .*\(the images\)"),
        open_study(tmp_path, sweep(), {"the images": "abd", "n": (1, 2)}),
    ):
        pass


def test_one_process_at_a_time(tmp_path):
    with (
        FileLock(tmp_path / ".study.lock"),
        pytest.raises(UserError, match=r"^sweep\.study: another process works on s$"),
        open_study(tmp_path, sweep(), {}),
    ):
        pass


@settings(max_examples=10)
@given(st.text(min_size=1, max_size=8))
def test_a_name_is_a_folders(name):
    try:
        study_name = sweep(study=name).study
    except ValueError:
        return
    assert "/" not in study_name
    assert not study_name.startswith(".")
