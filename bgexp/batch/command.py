"""The production run: plan, work, and a row for every file of the input."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic, sleep
from typing import Any

from bgexp.batch import in_worker
from bgexp.batch.artifacts import REPORTS, write_reports, write_summary
from bgexp.batch.dispatch import PartsWork, work_on_parts
from bgexp.batch.engine import make_engine
from bgexp.batch.journal import Origin
from bgexp.batch.output_folder import OutputLock, open_lock, resolve_places
from bgexp.batch.part import find_open_parts
from bgexp.batch.plan_folder import PlanFolder
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.planned_file import PlannedFile
from bgexp.batch.prepare import describe_metadata, find_unfinished_plan, plan_input, prepare_plan
from bgexp.batch.track_batch import track_batch
from bgexp.batch.unite import describe_missing, unite_parts
from bgexp.config.batch import UNITE, BatchSettings, PartShare
from bgexp.errors import HaltedError, UserError
from bgexp.system.folders import Folder, locate_error
from bgexp.system.progress import tell
from bgexp.system.signals import StopRequest, catch_stop_signals
from bgexp.system.workers import preload
from bgexp.tracking.outbox import open_outbox
from bgexp.tracking.registry import apply_model

_WAIT = 0.5  # seconds between two looks at whether another process has made the plan


@dataclass(frozen=True)
class BatchResult:
    """What a batch, or a share of one, has done.

    Attributes:
        summary: The content of summary.json; {} of a dry run and of a share.
        planned: What was planned for each file; only of a dry run.
        work: What was done of a share.
    """

    summary: Mapping[str, Any]
    planned: Sequence[PlannedFile] = ()
    work: PartsWork | None = None


def batch_process_images(settings: BatchSettings) -> BatchResult:
    """Remove the background of every image below a folder, all of them handled alike.

    Raises:
        UserError: Something needed is missing, another batch works in the output, or it holds
            other results.
        Interrupted: A signal came; what was finished is kept, and the next run goes on from it.
    """
    return _run_batch(settings, with_rules=False)


def batch_process_with_quality_handling(settings: BatchSettings) -> BatchResult:
    """Run `batch_process_images` with the quality rules on."""
    return _run_batch(settings, with_rules=True)


def _run_batch(settings: BatchSettings, *, with_rules: bool) -> BatchResult:
    preload(in_worker.MODULE)
    source, output = resolve_places(settings)
    rules = settings.quality.replace(enabled=with_rules)
    settings, version = apply_model(settings.replace(quality=rules))
    if version:
        tell(f"model: {version}, of run {version.run_id}")
    engine = make_engine(settings, output)
    identify = partial(in_worker.compute_origin, settings, version, source.root)
    with catch_stop_signals() as stop:
        if settings.dry_run:
            engine.call(identify, stop)  # what is missing is told now
            with plan_input(settings, source, output, engine, stop) as (files, _):
                return BatchResult({}, list(files))
        prepare = partial(prepare_plan, settings, source, output, engine=engine, stop=stop)
        if isinstance(settings.part, PartShare):
            origin = engine.call(identify, stop)
            return _work_on_share(settings, settings.part, output, origin, prepare, stop)
        with open_outbox(settings, REPORTS, tell) as send:
            origin = engine.call(identify, stop)
            with open_lock(output, stop) as lock, _name_output_errors(output):
                lock.hold_alone()
                began = datetime.now().astimezone()
                if settings.part == UNITE:
                    batch = _find_batch_to_unite(settings, output, origin)
                    done = unite_parts(batch)
                    work, seconds = PartsWork(done.newly_done), done.seconds
                else:
                    batch = PlannedBatch(settings, prepare(origin))
                    work_start = monotonic()
                    work = engine.work_on_parts(batch, find_open_parts(batch), stop)
                    seconds = monotonic() - work_start
                    unite_parts(batch)
                summary, draw_page = write_reports(batch, work, began, seconds)
                summary = track_batch(batch, summary, began, send)
                if summary["run_id"]:
                    write_summary(batch, summary)
                    draw_page(summary)  # with the link to its run
                return BatchResult(summary)


@contextmanager
def _name_output_errors(output: Folder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HaltedError(f"output: {locate_error(output, error)}: {error.strerror}") from error


def _find_batch_to_unite(settings: BatchSettings, output: Folder, origin: Origin) -> PlannedBatch:
    folder = find_unfinished_plan(output, origin, describe_metadata(settings))
    if folder is None:
        raise UserError(
            f"part: {output} holds no begun batch of these settings that could be united"
        )
    batch = PlannedBatch(settings, folder)
    if missing := find_open_parts(batch):
        raise UserError(describe_missing(missing, folder.plan.n_parts))
    return batch


def _work_on_share(
    settings: BatchSettings,
    share: PartShare,
    output: Folder,
    origin: Origin,
    prepare: Callable[[Origin], PlanFolder],
    stop: StopRequest,
) -> BatchResult:
    """Work on every n-th part of the plan, which the first of the processes makes for all."""
    with open_lock(output, stop) as lock, _name_output_errors(output):
        folder = _await_plan(settings, output, origin, lock, prepare, stop)
        batch = PlannedBatch(settings, folder)
        numbers = range(share.number - 1, folder.plan.n_parts, share.of)
        work = work_on_parts(batch, find_open_parts(batch, numbers), stop)
        return BatchResult({}, work=work)


def _await_plan(
    settings: BatchSettings,
    output: Folder,
    origin: Origin,
    lock: OutputLock,
    prepare: Callable[[Origin], PlanFolder],
    stop: StopRequest,
) -> PlanFolder:
    """Return the plan once it is there, the output being held beside other processes' parts."""
    metadata = describe_metadata(settings)
    while True:
        stop.raise_if_set()
        if lock.try_to_hold(alone=False):
            if folder := find_unfinished_plan(output, origin, metadata):
                return folder
            if lock.try_to_hold(alone=True, to_plan=True):
                prepare(origin)
                continue
        elif not lock.is_held_to_plan():
            lock.hold_alone()  # tells who works there
        sleep(_WAIT)
