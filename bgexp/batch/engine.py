"""What deals the work out: to the processes of this machine, or by an engine of many machines."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bgexp.batch.dispatch import PartsWork, work_on_parts
from bgexp.batch.plan_folder import STATE
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.config.batch import BatchSettings, PartShare
from bgexp.config.engines import Ray, Slurm, require_library
from bgexp.system.cores import count_available_cores
from bgexp.system.folders import Folder, LocalFolder
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, call_in_worker, run_tasks

T = TypeVar("T")
R = TypeVar("R")

LOGS = "slurm"  # the folder of the logs of Slurm's tasks


class Engine(Protocol):
    """The way of work to whoever does it, and of what came of it back."""

    @property
    def least_parts(self) -> int:
        """Return how many parts a plan should have at least, so that all workers have some."""
        ...

    def call(self, function: Callable[[], R], stop: StopRequest) -> R:
        """Call a function where the images will be processed, as `call_in_worker` does."""
        ...

    def run(
        self, tasks: Iterable[T], start: Callable[[], Callable[[T], R]], stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result, as `run_tasks` does."""
        ...

    def work_on_parts(
        self, batch: PlannedBatch, numbers: Sequence[int], stop: StopRequest
    ) -> PartsWork:
        """Process the images of parts, as `dispatch.work_on_parts` does."""
        ...


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this machine.

    Attributes:
        workers: How many; None: one for each core.
        timeout_s: Time limit of a task.
        least_parts: As in `Engine`.
    """

    workers: int | None
    timeout_s: float
    least_parts: int = 1

    def call(self, function: Callable[[], R], stop: StopRequest) -> R:
        """Call a function in a worker."""
        return call_in_worker(function, stop)

    def run(
        self, tasks: Iterable[T], start: Callable[[], Callable[[T], R]], stop: StopRequest
    ) -> Iterator[tuple[T, R | TaskFailure]]:
        """Yield each task with its result."""
        n_workers = self.workers or count_available_cores()
        return run_tasks(tasks, start, n_workers, self.timeout_s, stop)

    def work_on_parts(
        self, batch: PlannedBatch, numbers: Sequence[int], stop: StopRequest
    ) -> PartsWork:
        """Process the images of parts, which flow into each other."""
        return work_on_parts(batch, numbers, stop)


def make_engine(settings: BatchSettings, output: Folder) -> Engine:
    """Return the engine of the settings.

    Args:
        settings: The batch's settings.
        output: The output folder.

    Raises:
        UserError: Its library is not installed, or it cannot be reached.
    """
    engine = settings.engine
    if isinstance(settings.part, PartShare):
        return LocalEngine(settings.workers, settings.timeout_s, settings.part.of)
    with require_library(engine):
        if isinstance(engine, Ray):
            from bgexp.batch.ray_engine import RayEngine

            return RayEngine(engine)
        if isinstance(engine, Slurm):
            from bgexp.batch.slurm_engine import SlurmEngine

            # An object store takes no logs: the runs folder, which all machines see, does.
            folder = settings.runs_dir.resolve()
            if isinstance(output, LocalFolder):
                folder = output.path / STATE
            return SlurmEngine(engine, folder / LOGS, settings.timeout_s)
    return LocalEngine(settings.workers, settings.timeout_s)
