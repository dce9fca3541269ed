"""Jobs in other processes: one that dies is told, and the others are awaited."""

import os
import signal
from time import monotonic

import pytest
from submitit import AutoExecutor, SlurmJob

from bgexp.config.compose import compose_config
from bgexp.errors import Interruption, UserError
from bgexp.sweep.submitted_jobs import attend_jobs

pytestmark = pytest.mark.slow


def submit(folder, function, *overrides):
    """Submit jobs as Hydra's launcher does: their overrides, a key, and their numbers."""
    executor = AutoExecutor(folder, cluster="local")
    executor.update_parameters(timeout_min=5)
    numbers = range(len(overrides))
    return executor.map_array(function, overrides, ["sweep.dir"] * len(overrides), numbers)


def test_a_job_that_dies_is_told(tmp_path):
    def die_or_return(overrides, _key, number):
        if "die" in overrides:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    dead = []
    with attend_jobs(lambda *told: dead.append(told)):
        jobs = submit(tmp_path, die_or_return, ["a=1", "die"], ["b=2"])
        results = [job.results() for job in jobs]
    assert results[1] == [1]
    assert results[0][0].return_value is None  # no error that Hydra would raise
    [(number, overrides, line)] = dead
    assert (number, overrides) == (0, ["a=1", "die"])
    assert line.startswith("its job ")
    assert " died (" in line
    assert line.endswith("_0_log.err)")


def test_jobs_end_when_the_sweep_is_interrupted(tmp_path):
    def wait(_overrides, _key, _number):
        import signal
        import sys
        from time import sleep

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        sleep(300)

    before = AutoExecutor.map_array, SlurmJob.watcher
    began = monotonic()
    jobs = []

    def interrupt():
        with attend_jobs(pytest.fail):
            jobs.extend(submit(tmp_path, wait, ["a=1"], ["a=2"]))
            raise Interruption(130)

    with pytest.raises(Interruption):
        interrupt()
    assert len(jobs) == 2
    assert all(job._job.done() for job in jobs)
    assert monotonic() - began < 60
    assert (AutoExecutor.map_array, SlurmJob.watcher) == before


def test_a_launcher_that_is_not_installed():
    with pytest.raises(UserError, match=r"^hydra/launcher: .* \(pip install 'bgexp\[slurm\]'\)$"):
        compose_config("run", ["hydra/launcher=submitit_other"], None)
