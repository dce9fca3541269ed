"""The production run: plan, work, and a row for every file of the input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from bgexp.batch import in_worker
from bgexp.batch.artifacts import write_reports
from bgexp.batch.dispatch import dispatch_files
from bgexp.batch.journal import Record
from bgexp.batch.output_folder import (
    JOURNAL,
    STATE,
    lock_output,
    read_earlier_records,
    remove_temporary,
    resolve_places,
)
from bgexp.batch.plan import METADATA, find_metadata_file, plan_files
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.planned_file import PlannedFile
from bgexp.batch.track_batch import REPORTS, track_batch
from bgexp.config.batch import BatchSettings
from bgexp.errors import HaltedError
from bgexp.quality.table import describe_metadata_table
from bgexp.system.progress import tell
from bgexp.system.signals import catch_stop_signals
from bgexp.system.workers import call_in_worker, preload
from bgexp.tracking.outbox import open_outbox
from bgexp.tracking.registry import apply_model
from bgexp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class BatchResult:
    """The records and the summary of a batch.

    Attributes:
        summary: The content of summary.json; {} of a dry run.
        records: One record per input file; none of a dry run.
        planned: What was planned for each file.
    """

    summary: Mapping[str, Any]
    records: Sequence[Record]
    planned: Sequence[PlannedFile]


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
    identify = partial(in_worker.compute_identity, settings, version, source.root)
    with catch_stop_signals() as stop:
        if settings.dry_run:
            call_in_worker(identify, stop)  # what is missing is told now
            return BatchResult({}, [], plan_files(settings, source, output, stop))
        with open_outbox(settings, REPORTS, tell) as send:
            identity, provenance, device = call_in_worker(identify, stop)
            with lock_output(output):
                remove_temporary(output)
                began = datetime.now().astimezone()
                planned = plan_files(settings, source, output, stop)
                earlier = _prepare_output(output, provenance, planned, settings)
                metadata_form = describe_metadata_table(find_metadata_file(settings), METADATA)
                plan = identity, provenance, device, planned, earlier, metadata_form
                batch = PlannedBatch(settings, output, *plan)
                try:
                    work_start = monotonic()
                    records, load = dispatch_files(batch, stop)
                    seconds = monotonic() - work_start
                    summary, draw_page = write_reports(batch, records, began, seconds, load)
                    summary = track_batch(batch, summary, began, send)
                    if summary["run_id"]:
                        RunFolder(output).write_summary(summary)
                        draw_page(summary)  # with the link to its run
                except OSError as error:
                    raise HaltedError(f"output: {output}: {error.strerror}") from error
                return BatchResult(summary, records, planned)


def _prepare_output(
    output: Path,
    provenance: Mapping[str, Any],
    planned: Sequence[PlannedFile],
    settings: BatchSettings,
) -> dict[str, Record]:
    """Return an earlier batch's records by path; its reports give way to those to come."""
    earlier, damaged = read_earlier_records(output, provenance, planned, settings)
    if damaged:
        tell(f"{damaged} damaged lines in {STATE}/{JOURNAL}: their images are done again")
    for name in REPORTS:
        (output / name).unlink(missing_ok=True)
    return earlier
