"""Jobs of a sweep that submitit runs elsewhere, by Slurm or in local processes: awaited, cancelled.

Hydra's launcher gives up at the first job that died, and leaves the others to themselves.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from submitit import AutoExecutor, Job, LocalJob, SlurmJob
from submitit.core.utils import FailedJobError, UncompletedJobError

from bgexp.errors import Interruption
from bgexp.system.slurm_queue import QueueWatcher

WATCH_S = 20  # at most, until a job that died is noticed
CANCEL_S = 60  # for cancelled jobs to close their runs; Slurm kills after 30 by default
TellDead = Callable[[int, Sequence[str], str], None]

log = logging.getLogger(__name__)


class _AttendedJob:
    """A job whose death is told, and is no error."""

    def __init__(self, job: Job[JobReturn], tell_dead: TellDead) -> None:
        self._job, self._tell_dead = job, tell_dead

    def results(self) -> list[JobReturn]:
        job = self._job
        try:
            return list(job.results())
        except (UncompletedJobError, FailedJobError):
            overrides, _, number, *_ = job.submission().args
            log_file = job.paths.stderr if job.paths.stderr.exists() else job.paths.stdout
            line = f"its job {job.job_id} died ({job.state.lower()}; its log is {log_file})"
            log.error("job %s: %s", number, line)
            self._tell_dead(number, overrides, line)
            ended = JobReturn()
            ended.status = JobStatus.COMPLETED
            return [ended]


@contextmanager
def attend_jobs(tell_dead: TellDead) -> Iterator[None]:
    """Let the launcher wait for all jobs, whatever becomes of one; cancel them when interrupted.

    Args:
        tell_dead: Called for each job that died with its number, its overrides and a line.
    """
    jobs: list[Job[Any]] = []
    submit, watcher = AutoExecutor.map_array, SlurmJob.watcher

    def submit_attended(executor: AutoExecutor, *call: Any) -> list[_AttendedJob]:  # noqa: ANN401
        jobs.extend(submit(executor, *call))
        return [_AttendedJob(job, tell_dead) for job in jobs]

    # Hydra lets no launcher in but its own plugins, and submitit makes a SlurmJob of each job.
    AutoExecutor.map_array = submit_attended  # type: ignore[method-assign, assignment]
    SlurmJob.watcher = QueueWatcher(delay_s=WATCH_S)
    try:
        yield
    except (Interruption, KeyboardInterrupt):
        _cancel(jobs)
        raise
    finally:
        AutoExecutor.map_array = submit  # type: ignore[method-assign]
        SlurmJob.watcher = watcher


def _cancel(jobs: Sequence[Job[Any]]) -> None:
    running = [job for job in jobs if not job.done(force_check=True)]
    for job in running:
        if isinstance(job, LocalJob) and job._process is not None:
            job._process.terminate()  # submitit's own way kills it within a second
        else:
            job.cancel(check=False)
    end = monotonic() + CANCEL_S
    while running and monotonic() < end:
        sleep(0.5)
        running = [job for job in running if not job.done(force_check=True)]
    for job in running:
        log.warning("job %s does not end", job.job_id)
