"""The production run: plan, work, and a row for every file of the input."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from bgexp.batch.artifacts import write_reports
from bgexp.batch.dispatch import dispatch_files
from bgexp.batch.identity import compute_identity
from bgexp.batch.journal import Record
from bgexp.batch.manifest import CSV, PARQUET
from bgexp.batch.output_folder import (
    JOURNAL,
    STATE,
    TREES,
    lock_output,
    read_earlier_records,
    remove_temporary,
)
from bgexp.batch.plan import plan_files
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.planned_file import PlannedFile
from bgexp.batch.track_batch import track_batch
from bgexp.config.batch import BatchSettings
from bgexp.errors import HaltedError, UserError
from bgexp.system.progress import tell
from bgexp.system.signals import catch_stop_signals
from bgexp.system.workers import preload
from bgexp.tracking.outbox import open_outbox
from bgexp.tracking.registry import apply_model
from bgexp.tracking.run_folder import PAGE, SUMMARY


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
    preload(__name__)  # the command line has done so with less, before this was imported
    rules = settings.quality.replace(enabled=with_rules)
    settings, version = apply_model(settings.replace(quality=rules))
    if version:
        tell(f"model: {version}, of run {version.run_id}")
    source, output = _resolve_folders(settings)
    identity, provenance = compute_identity(settings, version, source)
    with catch_stop_signals() as stop:
        if settings.dry_run:
            planned = plan_files(settings, source, output, stop)
            return BatchResult({}, [], planned)
        with lock_output(output):
            remove_temporary(output)
            began = datetime.now().astimezone()
            planned = plan_files(settings, source, output, stop)
            earlier, damaged = read_earlier_records(output, provenance, planned, settings.overwrite)
            if damaged:
                tell(f"{damaged} damaged lines in {STATE}/{JOURNAL}: their images are done again")
            for name in (PARQUET, CSV, SUMMARY, PAGE):
                (output / name).unlink(missing_ok=True)
            batch = PlannedBatch(settings, output, identity, provenance, planned, earlier)
            try:
                work_start = monotonic()
                records, load = dispatch_files(batch, stop)
                seconds = monotonic() - work_start
                with open_outbox(settings, tell) as send:
                    summary = write_reports(batch, records, began, seconds, load)
                    summary = track_batch(batch, summary, began, send)
            except OSError as error:
                raise HaltedError(f"output: {output}: {error.strerror}") from error
            return BatchResult(summary, records, planned)


def _resolve_folders(settings: BatchSettings) -> tuple[Path, Path]:
    source, output = (Path(os.path.realpath(path)) for path in (settings.input, settings.output))
    if not source.is_dir():
        raise UserError(f"input: no such folder: {settings.input}")
    trees = [output, *(output / name for name in (*TREES, STATE))]
    if source in trees or any(tree in source.parents for tree in trees[1:]):
        raise UserError(f"output: {output} would mix its results with the input {source}")
    return source, output
