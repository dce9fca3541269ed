"""A sweep whose jobs run side by side in processes of their own, by Hydra's joblib launcher."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from time import monotonic, sleep

import psutil
import pytest

from bgexp.system.atomic import TEMPORARY
from bgexp.tracking.run_folder import RunFolder

pytestmark = pytest.mark.slow
SIDE_BY_SIDE = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "refine=none,guided"]
SIDE_BY_SIDE += ["workers=2"]  # of a run alone: these have no workers
STARTED_SECONDS = 300


@pytest.fixture
def command(fast, tmp_path):
    overrides = [o for o in fast if not o.startswith("refine")]
    words = [*SIDE_BY_SIDE, *overrides, "samples=0", f"runs_dir={tmp_path / 'runs'}"]
    return [sys.executable, "-m", "bgexp.cli.main", "run", "-m", *words]


def find_tracked(runs):
    """The runs in the store: their entities by name."""
    from mlflow import MlflowClient

    tracked_runs = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}").search_runs(["1"])
    return {run.info.run_name: run for run in tracked_runs}


def test_jobs_side_by_side(command, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=2 * STARTED_SECONDS
    )
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs/sweep").iterdir()
    summaries = [RunFolder(folder / job).read_summary() for job in ("0", "1")]
    assert [summary["counts"]["ok"] for summary in summaries] == [2, 2]
    runs = find_tracked(tmp_path / "runs")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    [parent] = {summary["parent_run_id"] for summary in summaries}
    jobs = [run for run in runs.values() if run.info.run_id != parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in jobs} == {parent}
    assert {run.info.run_name for run in jobs} == {
        "no refinement · demo · score 0.5",
        "guided · demo · score 0.5",
    }
    # Each in a process of its own, which was not the parent's.
    assert len({run.data.tags["bgexp.pid"] for run in runs.values()}) == 3


def is_writing_masks(folder):
    """Return whether a run has begun its archive of masks, and so evaluates images."""
    with suppress(FileNotFoundError):  # another file, which has its name by now
        return any(path.read_bytes()[:2] == b"PK" for path in folder.rglob(TEMPORARY))
    return False


def test_ctrl_c_leaves_nothing_running(command, tmp_path):
    words = [word for word in command if not word.startswith("dataset.subset")]
    with subprocess.Popen(
        [*words, "cache.max_gb=0"], stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        end = monotonic() + STARTED_SECONDS
        while not is_writing_masks(tmp_path):
            assert process.poll() is None
            assert monotonic() < end
            sleep(0.02)
        workers = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    assert process.returncode == 130
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    states = {name: run.info.status for name, run in find_tracked(tmp_path / "runs").items()}
    assert "RUNNING" not in states.values()
    assert "KILLED" in [state for name, state in states.items() if name.startswith("sweep ")]
