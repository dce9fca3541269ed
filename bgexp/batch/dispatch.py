"""The images of parts to the workers, journalled as they come back."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from bgexp.batch import in_worker
from bgexp.batch.file_task import BatchAborted, FileTask, make_record
from bgexp.batch.journal import Record
from bgexp.batch.part import Part, open_part
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.detect import placement
from bgexp.errors import HaltedError
from bgexp.system.cores import count_available_cores, count_threads_each
from bgexp.system.progress import show_progress, tell
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, run_tasks

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


def work_on_parts(batch: PlannedBatch, numbers: Iterable[int], stop: StopRequest) -> PartsWork:
    """Process the images of parts and journal each at once.

    The parts flow into each other: no worker waits for the last image of one.

    Raises:
        HaltedError: No image can be processed any more.
        Interruption: A signal came; what is finished stays in the journals.
    """
    settings, numbers = batch.settings, list(numbers)
    n_images = sum(batch.folder.plan.n_images[number] for number in numbers)
    n_workers = min(settings.workers or count_available_cores(), max(1, n_images))
    parts: dict[int, Part] = {}

    def list_tasks() -> Iterator[FileTask]:
        for number in numbers:
            parts[number] = open_part(batch, number)
            yield from parts[number].tasks

    newly_done = failed = 0
    with _share_network(batch) as network, show_progress("images", n_images) as step:
        address = network.address if network else None
        setup = settings, batch.output, batch.origin.identity, address
        start = partial(in_worker.make_processor, *setup, count_threads_each(n_workers))
        limits = n_workers, settings.timeout_s
        for task, outcome in run_tasks(list_tasks(), start, *limits, stop):
            if isinstance(outcome, BatchAborted):
                raise HaltedError(outcome.reason)
            record = (
                _record_failure(batch, task, outcome)
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
        load = network.load() if network else None
    stop.raise_if_set()
    return PartsWork(newly_done, failed, load)


def _share_network(batch: PlannedBatch) -> "AbstractContextManager[InferenceServer | None]":
    """Start the workers' inference server beside a GPU; torch is imported only then."""
    if not placement.wants_one_process(batch.origin.device["used"]):
        return nullcontext()
    from bgexp.detect.build import share_network
    from bgexp.detect.device import pick_device

    return share_network(batch.settings.detector, pick_device(batch.settings.device))


def _record_failure(batch: PlannedBatch, task: FileTask, failure: TaskFailure) -> Record:
    record = make_record(task.planned, batch.origin.identity)
    return replace(record, status="failed", kind="", reason=failure.reason)
