"""Sweeps by Slurm: parents and children, tasks and drivers that are killed, the shared cache."""

import signal
from time import monotonic, sleep

import psutil
import pytest

from bgexp.detect.cache import DetectionCache
from bgexp.tracking.run_folder import RunFolder
from tests.cluster.commands import finish, list_secrets_shown, wait_until

pytestmark = pytest.mark.cluster
SWEEP = ["run", "-m", "hydra/launcher=submitit_slurm", "combine.mask_threshold=0.4,0.5"]
SLOW = ["dataset.subset=24", "cache.max_gb=0", "detector.image_size=512"]  # to be hit in the middle


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def start(team, slurm, fast, runs, monkeypatch):
    """Starts a sweep; the experiment is the test's own."""
    for name, value in slurm.client_environment.items():
        monkeypatch.setenv(name, value)

    def start(*words):
        experiment = f"tracking.experiment={runs.parent.name}"
        return team.start_bgexp(*SWEEP, *fast, f"runs_dir={runs}", experiment, *words)

    return start


@pytest.fixture
def find_own(team, log_in, runs):
    """Finds the runs of the test: the parent, and the children in the order of their start."""
    from mlflow import MlflowClient

    def find_own():
        log_in("admin")
        client = MlflowClient(team.server.address)
        experiment = client.get_experiment_by_name(runs.parent.name)
        found = client.search_runs([experiment.experiment_id], order_by=["start_time ASC"])
        [parent] = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
        children = [run for run in found if run is not parent]
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
        return parent, children

    return find_own


def list_tasks(runs):
    """The processes of submitit's tasks: the pythons, not the shells around them."""
    tasks = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if "submitit.core._submit" in command and str(runs) in " ".join(command):
            tasks += [process] * ("python" in process.name())
    return tasks


def are_evaluating(runs, n_jobs):
    return len(list(runs.glob("sweep/*/*/.bgexp-*.part"))) >= n_jobs


def count_jobs(slurm):
    return len(slurm.run("squeue", "--noheader").splitlines())


def test_jobs_on_slurm(team, start, find_own, runs):
    code, output = finish(start())
    assert code == 0, output
    assert "Traceback" not in output
    parent, children = find_own()
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert len(children) == 2
    assert all(run.data.tags["bgexp.slurm_job"].isdigit() for run in children)
    assert len({run.data.tags["bgexp.slurm_job"] for run in children}) == 2
    assert "bgexp.slurm_job" not in parent.data.tags
    [folder] = (runs / "sweep").iterdir()
    summaries = [RunFolder(folder / job).read_summary() for job in "01"]
    assert {s["run_id"] for s in summaries} == {run.info.run_id for run in children}
    assert [s["workers"] for s in summaries] == [1, 1]  # a core each, of the node's two
    assert list_secrets_shown(team, runs) == []


def test_a_task_that_is_killed_is_a_failed_job(slurm, start, find_own, runs):
    process = start(*SLOW)
    wait_until(lambda: are_evaluating(runs, 2), process)
    victim = list_tasks(runs)[0]
    victim.kill()
    code, output = finish(process)
    assert code == 1, output
    assert "Traceback" not in output
    assert " died (failed; its log is " in output
    parent, children = find_own()
    assert parent.info.status == "FAILED"
    assert sorted(run.info.status for run in children) == ["FINISHED", "KILLED"]
    [folder] = (runs / "sweep").iterdir()
    summaries = [RunFolder(folder / job).read_summary() for job in "01"]
    assert sorted(summary["status"] for summary in summaries) == ["failed", "finished"]
    assert count_jobs(slurm) == 0


def test_a_sweep_that_is_interrupted_cancels_its_tasks(slurm, start, find_own, runs):
    process = start(*SLOW)
    wait_until(lambda: are_evaluating(runs, 2), process)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == 143, output
    assert "Traceback" not in output
    assert list_tasks(runs) == []
    assert count_jobs(slurm) == 0
    parent, children = find_own()
    assert {run.info.status for run in (parent, *children)} == {"KILLED"}


def test_tasks_outlive_a_killed_sweep(slurm, start, find_own, runs, team, fast):
    process = start("dataset.subset=8", "cache.max_gb=0")
    wait_until(lambda: are_evaluating(runs, 2), process)
    process.kill()
    process.communicate()
    end = monotonic() + 200
    while count_jobs(slurm):
        assert monotonic() < end
        sleep(0.5)
    parent, children = find_own()
    assert [run.info.status for run in children] == ["FINISHED"] * 2
    experiment = f"tracking.experiment={runs.parent.name}"
    single = team.start_bgexp("run", *fast, f"runs_dir={runs}", experiment)
    assert finish(single)[0] == 0
    from mlflow import MlflowClient

    closed = MlflowClient(team.server.address).get_run(parent.info.run_id)
    assert closed.info.status == "KILLED"


def test_the_cache_is_shared(start, runs):
    """Both tasks write and read the same entries; all are whole, and the results as without."""
    for words in ([], ["cache.max_gb=0", "force=true"]):
        code, output = finish(start("dataset.subset=6", *words))
        assert code == 0, output
    first, second = sorted((runs / "sweep").iterdir())
    for job in "01":
        cached, computed = (RunFolder(folder / job).read_summary() for folder in (first, second))
        assert cached["metrics"].keys() == computed["metrics"].keys()
        for name, metric in cached["metrics"].items():
            assert metric == pytest.approx(computed["metrics"][name], rel=1e-9), name
    entries = list((runs / "cache/detections").rglob("*.npz"))
    assert len(entries) == 6
    cache = DetectionCache(runs / "cache/detections", 10**9)
    assert all(cache.get(entry.stem, 0.5) is not None for entry in entries)


def test_local_processes(team, fast, runs, tmp_path, find_own):
    """`submitit_local`: no cluster; an interrupted sweep leaves no process and no open run."""
    words = ["run", "-m", "hydra/launcher=submitit_local", "combine.mask_threshold=0.4,0.5"]
    command = [*words, *fast, *SLOW, f"runs_dir={runs}", f"tracking.experiment={tmp_path.name}"]
    process = team.start_bgexp(*command)
    wait_until(lambda: are_evaluating(runs, 2), process)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == 143, output
    assert list_tasks(runs) == []
    parent, children = find_own()
    assert {run.info.status for run in (parent, *children)} == {"KILLED"}
