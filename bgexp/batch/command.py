"""The production run: plan, work, and a row for every file of the input."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from bgexp.batch.artifacts import draw_batch
from bgexp.batch.journal import Identity, Journal, Record
from bgexp.batch.manifest import CSV, PARQUET, write_manifest
from bgexp.batch.output_folder import (
    JOURNAL,
    STATE,
    earlier_records,
    remove_stale,
    remove_temporary,
    sole_use,
)
from bgexp.batch.plan import MASKS, OUTLIER, REGULAR, plan_batch
from bgexp.batch.planned import PlannedFile
from bgexp.batch.process_file import BatchAborted, FileTask, processor, started_record
from bgexp.batch.summary import TRACKED, batch_summary
from bgexp.config.batch import BatchSettings
from bgexp.config.check import flattened
from bgexp.config.roles import NOT_RESULT, dump_without
from bgexp.config.stages import UNet
from bgexp.detect.build import common_network, find_weights, runtime_versions
from bgexp.detect.device import device_name, pick_device
from bgexp.detect.inference_server import ServerStats
from bgexp.errors import HaltedError, Interrupted, UserError
from bgexp.pipeline.refine import find_network
from bgexp.quality.header import Header, header_reader
from bgexp.quality.table import read_metadata_table
from bgexp.system.cores import available_cores, threads_each
from bgexp.system.hashing import sha256_bytes
from bgexp.system.listing import FileEntry, all_files
from bgexp.system.progress import progress, tell
from bgexp.system.provenance import bgexp_state, package_versions, source_hash
from bgexp.system.signals import StopRequest, stopping
from bgexp.system.workers import TaskFailure, preload, run_tasks
from bgexp.tracking.outbox import Post, outbox
from bgexp.tracking.registry import Version, with_model
from bgexp.tracking.run_folder import PAGE, SUMMARY, RunFolder
from bgexp.tracking.summary import flatten_numbers


@dataclass(frozen=True)
class BatchResult:
    """How a batch ended.

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
    return _run_batch(settings, handle=False)


def batch_process_with_quality_handling(settings: BatchSettings) -> BatchResult:
    """Run `batch_process_images` with the quality rules on."""
    return _run_batch(settings, handle=True)


def _run_batch(settings: BatchSettings, *, handle: bool) -> BatchResult:
    preload(__name__)  # the command line has done so with less, before this was imported
    settings, version = with_model(_set_quality_handling(settings, handle=handle))
    if version:
        tell(f"model: {version}, of run {version.run_id}")
    source, output = _resolve_folders(settings)
    identity, provenance = _compute_identity(settings, version, source)
    with stopping() as stop:
        if settings.dry_run:
            planned = _plan_files(settings, source, output, stop)
            return BatchResult({}, [], planned)
        with sole_use(output):
            remove_temporary(output)
            began = datetime.now().astimezone()
            planned = _plan_files(settings, source, output, stop)
            earlier, damaged = earlier_records(output, provenance, planned, settings.overwrite)
            if damaged:
                tell(f"{damaged} damaged lines in {STATE}/{JOURNAL}: their images are done again")
            for name in (PARQUET, CSV, SUMMARY, PAGE):
                (output / name).unlink(missing_ok=True)
            batch = _Batch(settings, output, identity, provenance, planned, earlier)
            try:
                work_start = monotonic()
                records, load = _process_files(batch, stop)
                seconds = monotonic() - work_start
                with outbox(settings, tell) as send:
                    summary = _write_reports(batch, records, began, seconds, load)
                    summary = _track_batch(batch, summary, began, send)
            except OSError as error:
                raise HaltedError(f"output: {output}: {error.strerror}") from error
            return BatchResult(summary, records, planned)


@dataclass(frozen=True)
class _Batch:
    """The work of one batch; `provenance` is all that determines its results."""

    settings: BatchSettings
    output: Path
    identity: Identity
    provenance: Mapping[str, Any]
    planned: Sequence[PlannedFile]
    earlier: Mapping[str, Record]


def _resolve_folders(settings: BatchSettings) -> tuple[Path, Path]:
    source, output = (Path(os.path.realpath(path)) for path in (settings.input, settings.output))
    if not source.is_dir():
        raise UserError(f"input: no such folder: {settings.input}")
    trees = [output, *(output / name for name in (REGULAR, OUTLIER, MASKS, STATE))]
    if source in trees or any(tree in source.parents for tree in trees[1:]):
        raise UserError(f"output: {output} would mix its results with the input {source}")
    return source, output


def _set_quality_handling(settings: BatchSettings, *, handle: bool) -> BatchSettings:
    return settings.replace(quality=settings.quality.replace(enabled=handle))


def _compute_identity(
    settings: BatchSettings, version: Version | None, source: Path
) -> tuple[Identity, dict[str, Any]]:
    weights = find_weights(settings.detector)
    refine = settings.refine
    provenance = {
        **dump_without(settings, *NOT_RESULT),
        "weights": weights.sha256,
        "refine.weights": find_network(refine).sha256 if isinstance(refine, UNet) else "",
        "device": device_name(pick_device(settings.device)),
        "versions": package_versions() | runtime_versions(settings.detector),
        "bgexp": source_hash()[:16],
    }
    digest = sha256_bytes(json.dumps(provenance, sort_keys=True).encode())
    name, number = (version.name, str(version.number)) if version else (settings.detector.name, "")
    return Identity(digest, weights.sha256, name, number), {"input": str(source), **provenance}


# -- the work ----------------------------------------------------------------------------------


def _plan_files(
    settings: BatchSettings, source: Path, output: Path, stop: StopRequest
) -> list[PlannedFile]:
    headers = _read_headers(settings, source, output, stop)
    rules, files = settings.quality, [file.path for file, _ in headers]
    metadata_file = rules.metadata if rules.enabled else None
    return plan_batch(
        headers, settings, read_metadata_table(metadata_file, files, "quality.metadata")
    )


def _read_headers(
    settings: BatchSettings, source: Path, output: Path, stop: StopRequest
) -> list[tuple[FileEntry, Header]]:
    """Return every file of the input with its header, in the order of the listing."""
    try:
        files = all_files(source, [output])
    except OSError as error:
        raise UserError(f"input: {source}: {error.strerror}") from error
    if not files:
        raise UserError(f"input: {source} is empty")
    headers: dict[str, Header] = {}
    outcomes = run_tasks(
        files, header_reader, settings.workers or available_cores(), settings.timeout_s, stop
    )
    with progress("headers", len(files)) as step:
        for file, outcome in outcomes:
            if isinstance(outcome, TaskFailure):
                outcome = Header("image", f"its header cannot be read: {outcome.reason}")
            headers[file.path] = outcome
            step(0)
    _raise_if_stopped(stop)
    return [(file, headers[file.path]) for file in files]


def _process_files(batch: _Batch, stop: StopRequest) -> tuple[list[Record], ServerStats | None]:
    """Process each file, journalling as it happens; return records and the network's load."""
    jobs = [
        FileTask(file, batch.earlier.get(file.path)) for file in batch.planned if not file.reason
    ]
    settings = batch.settings
    path = batch.output / STATE / JOURNAL
    records_by_path: dict[str, Record] = {}
    failed = 0
    journal = Journal(path, batch.provenance, batch.earlier.values())
    processes = min(settings.workers or available_cores(), max(1, len(jobs)))
    shared_network = common_network(settings.detector, pick_device(settings.device))
    with shared_network as network, journal, progress("images", len(jobs)) as step:
        address = network.address if network else None
        setup = settings, batch.output, batch.identity, address, threads_each(processes)
        start = partial(processor, *setup)
        for job, outcome in run_tasks(jobs, start, processes, settings.timeout_s, stop):
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
    _raise_if_stopped(stop)
    records = [
        Record(file.path, file.category, "skipped", file.reason)
        if file.reason
        else records_by_path[file.path]
        for file in batch.planned
    ]
    return records, load


def _record_failure(batch: _Batch, job: FileTask, failure: TaskFailure) -> Record:
    record = started_record(job.planned, batch.identity)
    return replace(record, status="failed", kind="", reason=failure.reason)


def _write_reports(
    batch: _Batch,
    records: Sequence[Record],
    began: datetime,
    seconds: float,
    load: ServerStats | None,
) -> dict[str, Any]:
    """Write manifest, summary and page, once every input is known to have its row."""
    if [file.path for file in batch.planned] != [record.path for record in records]:
        raise AssertionError(f"{len(batch.planned)} inputs, {len(records)} rows")
    output = batch.output
    if removed := remove_stale(output, batch.earlier.values(), records):
        tell(f"{removed} files of results that are out of date were deleted")
    write_manifest(records, output)
    reused = sum(
        record.status == "done" and record == batch.earlier.get(record.path) for record in records
    )
    summary = batch_summary(batch.settings, batch.provenance, records, seconds, load, reused)
    RunFolder(output).write_summary(summary)
    files = {file.path: file.file for file in batch.planned}
    draw_batch(output, batch.settings, summary, records, files, began)
    remove_temporary(output)
    return summary


def _track_batch(
    batch: _Batch, summary: dict[str, Any], began: datetime, send: Callable[[Post], str]
) -> dict[str, Any]:
    """Send the record to the tracking store, which may be away."""
    settings, output = batch.settings, batch.output
    post = Post(
        name=f"batch {output.name}",
        experiment=settings.tracking.experiment,
        status="FINISHED" if summary["status"] == "finished" else "FAILED",
        began_ms=int(1000 * began.timestamp()),
        params={key: str(value) for key, value in flattened(settings).items()},
        metrics=flatten_numbers({key: summary[key] for key in TRACKED}),
        tags={f"bgexp.{key}": str(value) for key, value in bgexp_state().items()}
        | {"bgexp.folder": str(output), "bgexp.command": "batch"},
        files=[str(output / name) for name in (SUMMARY, PAGE, PARQUET, CSV)],
    )
    run_id = send(post)
    if run_id:
        summary = {**summary, "run_id": run_id}
        RunFolder(output).write_summary(summary)
    return summary


def _raise_if_stopped(stop: StopRequest) -> None:
    if stop.exit_code is not None:
        raise Interrupted(stop.exit_code)
