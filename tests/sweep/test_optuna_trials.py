"""`bgexp run -m sweep=optuna` by the command line, one of them killed in the middle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import optuna
import pytest
from optuna.trial import TrialState

from bgexp.experiment import run as experiment
from bgexp.tracking.run_folder import RunFolder
from tests.test_launcher import is_writing_masks

pytestmark = pytest.mark.slow
SPACE = ["detector.score_threshold=interval(0.3,0.6)", "refine=none,guided"]
STARTED_SECONDS = 180


@pytest.fixture(scope="module")
def overrides(fast):
    kept = [o for o in fast if not o.startswith(("refine", "detector.score_threshold"))]
    return [*kept, "samples=0", "sweep=optuna", "sweep.study=s", *SPACE]


def read_trials(runs):
    """The trials of the study, and the states in MLflow of all runs by id."""
    from mlflow import MlflowClient

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{runs / 'sweep/s/study.db'}")
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    return study.get_trials(), {run.info.run_id: run for run in client.search_runs(["1"])}


def kill_in_a_trial(arguments, runs):
    """Starts the command and kills it in the middle of its second trial."""
    command = [sys.executable, "-m", "bgexp.cli.main", "run", "-m", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        end = monotonic() + STARTED_SECONDS
        while not is_writing_masks(runs / "sweep/s/1"):
            assert process.poll() is None
            assert monotonic() < end
            sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def resumed_study(run_cli, overrides, tmp_path_factory):
    """A sweep that was killed in its second trial, and gone on with: its runs folder."""
    runs = tmp_path_factory.mktemp("killed") / "runs"
    kill_in_a_trial([*overrides, "sweep.trials=3", f"runs_dir={runs}"], runs)
    before = RunFolder(runs / "sweep/s/0").read_summary()
    assert run_cli("run", "-m", *overrides, "sweep.trials=3", f"runs_dir={runs}") == 0
    assert RunFolder(runs / "sweep/s/0").read_summary() == before  # it was not done again
    return runs


def test_a_killed_sweep_goes_on_where_it_stopped(resumed_study):
    trials, runs = read_trials(resumed_study)
    assert [t.state for t in trials] == [
        TrialState.COMPLETE if n != 1 else TrialState.FAIL for n in range(4)
    ]
    assert trials[2].params == trials[1].params
    jobs = [resumed_study / "sweep/s" / str(n) for n in (0, 2, 3)]
    for job in jobs:
        summary, trial = RunFolder(job).read_summary(), trials[int(job.name)]
        assert trial.value == summary["metrics"]["iou"]["mean"]
        assert f"refine={trial.params['refine']}" in RunFolder(job).read_overrides()
        assert (job / "log.txt").read_text()
    parents = {RunFolder(job).read_summary()["parent_run_id"] for job in jobs}
    assert parents == {json.loads((resumed_study / "sweep/s/sweep.json").read_text())["run_id"]}
    states = sorted(run.info.status for run in runs.values())
    assert states == ["FINISHED"] * 4 + ["KILLED"]  # three jobs, the parent, and what was killed
    [parent] = [runs[run_id] for run_id in parents]
    assert parent.data.tags["bgexp.jobs"] == "3"
    page = (resumed_study / "sweep/s/report.html").read_text()
    assert all(f'href="{job.name}/report.html"' in page for job in jobs)


def test_it_tried_what_it_would_have_tried_without_the_kill(
    resumed_study, bgexp_cli, overrides, tmp_path
):
    code, out, _ = bgexp_cli(
        "run", "-m", *overrides, "sweep.trials=3", f"runs_dir={tmp_path / 'runs'}"
    )
    assert code == 0
    whole, killed = read_trials(tmp_path / "runs")[0], read_trials(resumed_study)[0]
    assert [t.params for t in whole] == [t.params for t in killed if t.state != TrialState.FAIL]
    best = max(whole, key=lambda trial: trial.value)
    assert f"Best:    job {best.number}: iou.mean {best.value:.4g}\n" in out
    again = next(line for line in out.splitlines() if line.strip().startswith("bgexp run "))
    assert set(RunFolder(tmp_path / f"runs/sweep/s/{best.number}").read_overrides()) < set(
        again.split()
    )


def fail_if_called(*_args):
    raise AssertionError("a job was started")


def test_a_finished_study_is_told_again_and_goes_on_with_more(
    resumed_study, bgexp_cli, overrides, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(experiment, "evaluate_dataset", fail_if_called)
        code, out, _ = bgexp_cli(
            "run", "-m", *overrides, "sweep.trials=3", f"runs_dir={resumed_study}"
        )
    assert code == 0
    assert "3 jobs" in out
    floors = json.loads((resumed_study / "sweep/s/sweep.json").read_text())["score_floors"]
    assert floors == {"demo": 0.3}  # the lower end: one pass of the network serves all
    for job in ("2", "3"):
        assert (
            RunFolder(resumed_study / "sweep/s" / job).read_summary()["detections"]["computed"] == 0
        )


def test_both_ends_are_checked_before_anything_starts(bgexp_cli, overrides, tmp_path):
    overrides = [o for o in overrides if not o.startswith("detector.score_threshold")]
    code, _, err = bgexp_cli(
        "run",
        "-m",
        *overrides,
        "detector.score_threshold=interval(0.2,1.9)",
        f"runs_dir={tmp_path}/runs",
    )
    assert code == 2
    assert err == (
        "bgexp: detector.score_threshold: Input should be less than or equal to 1 (got 1.9)\n"
    )
    assert not (tmp_path / "runs/sweep").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["dataset=folder", "dataset.root={}"],
            "the images have no truth, and checks never choose",
        ),
        (["sweep.trials=0"], "sweep.trials: Input should be greater than 0 (got 0)"),
        (["sweep.study=../s"], "sweep.study: String should match"),
        (
            ["sweep.objectives=[coverage.mean]"],
            "sweep.objectives: coverage.mean: no such objective",
        ),
        (["hydra/launcher=joblib"], "hydra/launcher: with sweep=optuna the jobs run one after"),
        (["refine.radius=0.05,0.1"], "refine.radius: no such setting with refine=none"),
    ],
)
def test_what_is_refused(bgexp_cli, overrides, photographs, tmp_path, changes, message):
    changes = [word.format(photographs) for word in changes]
    code, _, err = bgexp_cli("run", "-m", *overrides, *changes, f"runs_dir={tmp_path}/runs")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert not (tmp_path / "runs/sweep").exists()


def test_without_a_sweep(bgexp_cli, tmp_path):
    code, _, err = bgexp_cli("run", "sweep=optuna", f"runs_dir={tmp_path}/runs")
    assert (code, err) == (2, "bgexp: sweep=optuna: a sweep is asked for by -m\n")


def test_a_failed_job_fails_its_trial_only(bgexp_cli, overrides, tmp_path, monkeypatch):
    real = experiment.prepare

    def fail_once(settings):
        if settings.refine.name == "guided":
            raise ZeroDivisionError("boom")
        return real(settings)

    monkeypatch.setattr(experiment, "prepare", fail_once)
    both = "sweep.objectives=[iou.mean,images_per_s]"
    code, out, _ = bgexp_cli(
        "run", "-m", *overrides, both, "sweep.trials=3", f"runs_dir={tmp_path}/runs"
    )
    assert code == 1
    trials, _ = read_trials(Path(tmp_path) / "runs")
    for trial in trials:
        failed = trial.params["refine"] == "guided"
        assert trial.state == (TrialState.FAIL if failed else TrialState.COMPLETE)
    assert {trial.state for trial in trials} == {TrialState.FAIL, TrialState.COMPLETE}
    assert "ZeroDivisionError: boom" in out
    assert "none of these is better than another in every objective" in out
