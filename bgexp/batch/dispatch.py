"""The images of parts to the workers, journalled as they come back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bgexp.batch import in_worker
from bgexp.batch.file_task import BatchAborted, FileTask, Outcome, make_record
from bgexp.batch.journal import Record
from bgexp.batch.part import Part, open_part
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.detect import placement
from bgexp.errors import HaltedError
from bgexp.system.cores import count_available_cores, count_threads_each
from bgexp.system.progress import show_progress, tell
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, WorkerPool

if TYPE_CHECKING:
    from bgexp.detect.inference_server import InferenceServer, ServerStats


@dataclass(frozen=True)
class PartsWork:
    """What was done of some parts.

    Attributes:
        newly_done: How many results were made.
        failed: How many images failed.
        load: Of the network that all workers shared, if there was one.
    """

    newly_done: int
    failed: int = 0
    load: "ServerStats | None" = None


@dataclass(frozen=True)
class ImageWorkers:
    """Processes with their networks loaded, for the parts of one batch.

    Attributes:
        batch: The batch.
        pool: The processes.
        network: The network that all of them share, where they do.
    """

    batch: PlannedBatch
    pool: WorkerPool[FileTask, Outcome]
    network: "InferenceServer | None"

    def work_on(self, numbers: Sequence[int], stop: StopRequest) -> PartsWork:
        """Process the images of parts and journal each at once.

        The parts flow into each other: no worker waits for the last image of one.

        Raises:
            HaltedError: No image can be processed any more.
            Interruption: A signal came; what is finished stays in the journals.
        """
        parts: dict[int, Part] = {}

        def list_tasks() -> Iterator[FileTask]:
            for number in numbers:
                parts[number] = open_part(self.batch, number)
                yield from parts[number].tasks

        newly_done = failed = 0
        n_images = sum(self.batch.folder.plan.n_images[number] for number in numbers)
        with show_progress("images", n_images) as step, ExitStack() as at_end:
            at_end.callback(_flush, parts)
            for task, outcome in self.pool.run(list_tasks(), stop):
                if isinstance(outcome, BatchAborted):
                    raise HaltedError(outcome.reason)
                record = (
                    self._record_failure(task, outcome)
                    if isinstance(outcome, TaskFailure)
                    else outcome
                )
                if parts[task.part].add(task, record):
                    del parts[task.part]
                newly_done += record.status == "done" and record != task.earlier
                failed += record.status == "failed"
                if record.status != "done":
                    tell(f"{record.path}: {record.status}: {record.reason}")
                step(failed)
        stop.raise_if_set()
        return PartsWork(newly_done, failed, self.network.load() if self.network else None)

    def _record_failure(self, task: FileTask, failure: TaskFailure) -> Record:
        record = make_record(task.planned, self.batch.origin.identity)
        return replace(record, status="failed", kind="", reason=failure.reason)


def _flush(parts: Mapping[int, Part]) -> None:
    """Write what is not written yet of the journals of parts that did not come to their end."""
    for part in parts.values():
        part.flush()


@contextmanager
def open_image_workers(batch: PlannedBatch, n_images: int) -> Iterator[ImageWorkers]:
    """Start processes for a number of images, at most; they end with the context."""
    settings = batch.settings
    n_workers = min(settings.workers or count_available_cores(), max(1, n_images))
    with _share_network(batch) as network:
        address = network.address if network else None
        setup = settings, batch.output, batch.origin.identity, address
        start = partial(in_worker.make_processor, *setup, count_threads_each(n_workers))
        with WorkerPool(start, n_workers, settings.timeout_s) as pool:
            yield ImageWorkers(batch, pool, network)


def work_on_parts(batch: PlannedBatch, numbers: Sequence[int], stop: StopRequest) -> PartsWork:
    """Process the images of parts, by processes of this machine, as `ImageWorkers.work_on` does."""
    n_images = sum(batch.folder.plan.n_images[number] for number in numbers)
    with open_image_workers(batch, n_images) as workers:
        return workers.work_on(numbers, stop)


def _share_network(batch: PlannedBatch) -> "AbstractContextManager[InferenceServer | None]":
    """Start the workers' inference server beside a GPU; torch is imported only then."""
    if not placement.wants_one_process(batch.origin.device["used"]):
        return nullcontext()
    from bgexp.detect.build import share_network
    from bgexp.detect.device import pick_device

    return share_network(batch.settings.detector, pick_device(batch.settings.device))
