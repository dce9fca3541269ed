"""The files of a batch to the workers, journalled as they come back."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bgexp.batch import in_worker
from bgexp.batch.file_task import BatchAborted, FileTask, make_record
from bgexp.batch.journal import Journal, Record
from bgexp.batch.output_folder import JOURNAL, STATE
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.detect import placement
from bgexp.errors import HaltedError
from bgexp.system.cores import count_available_cores, count_threads_each
from bgexp.system.progress import show_progress, tell
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, run_tasks

if TYPE_CHECKING:
    from bgexp.detect.inference_server import InferenceServer, ServerStats


def dispatch_files(
    batch: PlannedBatch, stop: StopRequest
) -> "tuple[list[Record], ServerStats | None]":
    """Process each file and journal it at once; return the records and the shared network's load.

    Raises:
        HaltedError: No image can be processed any more.
        Interrupted: A signal came; what is finished stays in the journal.
    """
    jobs = [
        FileTask(file, batch.earlier.get(file.path)) for file in batch.planned if not file.reason
    ]
    settings = batch.settings
    path = batch.output / STATE / JOURNAL
    records_by_path: dict[str, Record] = {}
    failed = 0
    journal = Journal(path, batch.provenance, batch.earlier.values())
    n_workers = min(settings.workers or count_available_cores(), max(1, len(jobs)))
    with _share_network(batch) as network, journal, show_progress("images", len(jobs)) as step:
        address = network.address if network else None
        setup = settings, batch.output, batch.identity, address, count_threads_each(n_workers)
        start = partial(in_worker.make_processor, *setup)
        for job, outcome in run_tasks(jobs, start, n_workers, settings.timeout_s, stop):
            if isinstance(outcome, BatchAborted):
                raise HaltedError(outcome.reason)
            record = (
                outcome if isinstance(outcome, Record) else _record_failure(batch, job, outcome)
            )
            if record != job.earlier:
                journal.add(record)
            records_by_path[record.path] = record
            failed += record.status == "failed"
            if record.status != "done":
                tell(f"{record.path}: {record.status}: {record.reason}")
            step(failed)
        load = network.load() if network else None
    stop.raise_if_set()
    records = [
        Record(file.path, file.category, "skipped", file.reason)
        if file.reason
        else records_by_path[file.path]
        for file in batch.planned
    ]
    return records, load


def _share_network(batch: PlannedBatch) -> "AbstractContextManager[InferenceServer | None]":
    """Start the workers' inference server beside a GPU; torch is imported only then."""
    if not placement.wants_one_process(batch.device["used"]):
        return nullcontext()
    from bgexp.detect.build import share_network
    from bgexp.detect.device import pick_device

    return share_network(batch.settings.detector, pick_device(batch.settings.device))


def _record_failure(batch: PlannedBatch, job: FileTask, failure: TaskFailure) -> Record:
    record = make_record(job.planned, batch.identity)
    return replace(record, status="failed", kind="", reason=failure.reason)
