"""A batch's parts by a job array of Slurm, each task with its share of them.

Tasks write nothing but results and journals: what is done is decided by the journals alone, and a
task that died costs what it had not done.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any, Generic, TypeVar

from submitit import Job, SlurmExecutor, SlurmJob
from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError

from bgexp.batch import in_worker
from bgexp.batch.dispatch import PartsWork, work_on_parts
from bgexp.batch.journal import is_closed
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.config.engines import Slurm
from bgexp.errors import HaltedError, UserError, get_last_line
from bgexp.system.cores import count_available_cores
from bgexp.system.progress import show_progress, tell
from bgexp.system.signals import StopRequest, catch_stop_signals
from bgexp.system.slurm_queue import QueueWatcher
from bgexp.system.workers import TaskFailure, preload, run_tasks

T = TypeVar("T")
R = TypeVar("R")

_PARTS_EACH = 4  # so that what a task leaves is little
_LOOK_S = 2.0  # between two looks at what the tasks have done
_WATCH_S = 10  # at most, until a task that died is noticed


@dataclass(frozen=True)
class Answer(Generic[R]):
    """What a task gives back: its result, or the error that ended it, in one line."""

    result: R | None
    error: str = ""


class SlurmEngine:
    """Tasks of Slurm that see the input, the output and bgexp under the same paths."""

    def __init__(self, engine: Slurm, logs: Path, timeout_s: float) -> None:
        """Find Slurm.

        Args:
            engine: The settings.
            logs: The folder of the tasks' logs, which all machines see.
            timeout_s: Time limit of a task.

        Raises:
            UserError: There is none here.
        """
        self._engine, self._timeout_s = engine, timeout_s
        self._logs = logs
        self.least_parts = _PARTS_EACH * engine.tasks
        if SlurmExecutor.affinity() <= 0:
            raise UserError("engine: there is no Slurm on this machine (sbatch is not found)")
        SlurmJob.watcher = QueueWatcher(delay_s=_WATCH_S)

    def call(self, function: Callable[[], R], stop: StopRequest) -> R:
        """Call a function in a task, as what it finds, such as the device, is a node's."""
        with self._submit([function]) as jobs:
            while not jobs[0].done():
                stop.raise_if_set()
                sleep(_LOOK_S)
            result: R = _get_result(jobs[0], UserError)
        return result

    def run(
        self, tasks: Iterable[T], start: Callable[[], Callable[[T], R]], stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result, by processes of this machine: headers are read soon."""
        return run_tasks(tasks, start, count_available_cores(), self._timeout_s, stop)

    def work_on_parts(
        self, batch: PlannedBatch, numbers: Sequence[int], stop: StopRequest
    ) -> PartsWork:
        """Process the images of parts.

        Raises:
            HaltedError: A task ended before its work did.
            Interruption: A signal came; the tasks are cancelled, and what is finished is kept.
        """
        if not numbers:
            return PartsWork(0)
        batch = replace(batch, settings=batch.settings.replace(workers=self._engine.cpus))
        n_tasks = min(self._engine.tasks, len(numbers))
        shares = [list(numbers[task::n_tasks]) for task in range(n_tasks)]
        n_images = batch.folder.plan.n_images
        left = [deque(share) for share in shares]
        with (
            self._submit([partial(_work_on_share, batch, share) for share in shares]) as jobs,
            show_progress("images", sum(n_images[number] for number in numbers)) as step,
        ):
            tell(f"job {jobs[0].job_id.partition('_')[0]} of Slurm; logs: {self._logs}")
            while any(left) and not all(job.done() for job in jobs):
                stop.raise_if_set()
                sleep(_LOOK_S)
                for share in left:  # whose parts are done in their order: the first says all
                    while share and is_closed(batch.output, batch.folder.get_journal(share[0])):
                        step(0, n_images[share.popleft()])
            works = [_get_result(job, HaltedError) for job in jobs]
        return PartsWork(sum(work.newly_done for work in works), sum(work.failed for work in works))

    @contextmanager
    def _submit(self, functions: Sequence[Callable[[], Any]]) -> Iterator[list[Job[Any]]]:
        """Submit an array with a task for each function; cancel what an exception leaves behind."""
        engine = self._engine
        executor = SlurmExecutor(self._logs)
        optional = {
            "partition": engine.partition,
            "account": engine.account,
            "qos": engine.qos,
            "mem": engine.memory_gb and f"{engine.memory_gb * 1024:.0f}M",
            "gpus_per_node": engine.gpus or None,
        }
        executor.update_parameters(
            job_name="bgexp",
            time=round(60 * engine.hours),
            cpus_per_task=engine.cpus,
            ntasks_per_node=1,
            **{key: value for key, value in optional.items() if value is not None},
        )
        try:
            jobs = executor.map_array(_answer, functions)
        except FailedSubmissionError as error:
            raise UserError(f"engine: Slurm refuses the job: {get_last_line(error)}") from error
        try:
            yield jobs
        except BaseException:
            for job in jobs:
                job.cancel(check=False)
            raise


def _work_on_share(batch: PlannedBatch, numbers: Sequence[int]) -> PartsWork:
    """Process the images of parts in a task, which a signal ends as it ends a batch."""
    preload(in_worker.MODULE)
    with catch_stop_signals() as stop:
        return work_on_parts(batch, numbers, stop)


def _answer(function: Callable[[], R]) -> Answer[R]:
    try:
        return Answer(function())
    except UserError as error:
        return Answer(None, str(error))


def _get_result(job: Job[Any], kind: type[UserError]) -> Any:  # noqa: ANN401
    """Return the result of a task.

    Raises:
        UserError: Of this kind; the task gave an error back, or ended without an answer.
    """
    try:
        answer: Answer[Any] = job.result()
    except (FailedJobError, UncompletedJobError) as error:
        log = job.paths.stderr if job.paths.stderr.exists() else job.paths.stdout
        raise HaltedError(
            f"engine: task {job.job_id} died ({job.state.lower()}; its log is {log}); run the same "
            "command again"
        ) from error
    if answer.error:
        raise kind(answer.error)
    return answer.result
