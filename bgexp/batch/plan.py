"""What a batch will do with every file, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bgexp.batch.input_files import InputFiles
from bgexp.batch.output_paths import MASKS, OUTLIER, REGULAR, plan_output_paths
from bgexp.batch.planned_file import PlannedFile
from bgexp.batch.shape_issues import find_shape_issues
from bgexp.config.batch import BatchSettings, QualityRules
from bgexp.images.encode import SUFFIX
from bgexp.quality.header import Header, make_header_reader
from bgexp.quality.outliers import find_outlier_reasons, find_outliers
from bgexp.quality.table import read_metadata_table
from bgexp.system.cores import count_available_cores
from bgexp.system.listing import FileEntry
from bgexp.system.progress import show_progress
from bgexp.system.signals import StopRequest
from bgexp.system.workers import TaskFailure, run_tasks

METADATA = "quality.metadata"  # the setting
_KINDS = {REGULAR: "regular", OUTLIER: "outlier"}


def plan_files(
    settings: BatchSettings, source: InputFiles, output: Path, stop: StopRequest
) -> list[PlannedFile]:
    """List the files of the input, read their headers and plan each; nothing is written.

    Raises:
        UserError: The input cannot be listed, or is empty.
        Interrupted: A signal came.
    """
    headers = _read_headers(settings, source, output, stop)
    files = [file.path for file, _ in headers]
    metadata = read_metadata_table(find_metadata_file(settings), files, METADATA)
    return plan_batch(headers, settings, metadata)


def find_metadata_file(settings: BatchSettings) -> Path | None:
    """Return the CSV that the quality rules need; None where there is none."""
    return settings.quality.metadata if settings.quality.enabled else None


def plan_batch(
    files: Sequence[tuple[FileEntry, Header]],
    settings: BatchSettings,
    metadata: pd.DataFrame | None = None,
) -> list[PlannedFile]:
    """Plan each file: its output or the reason why it is skipped, in the order of the files.

    Args:
        files: The files with their headers.
        settings: The batch's settings.
        metadata: Columns by path, as `read_metadata_table` reads them.
    """
    rules = settings.quality
    outliers = _find_outlier_images(files, rules) if rules.enabled else {}
    planned = []
    for file, header in files:
        entry = PlannedFile(file.path, file.category, file.file, file.state, reason=header.reason)
        if not header.reason and rules.enabled:
            issues = (*outliers.get(file.path, ()), *_find_issues(header, rules))
            missing = _find_missing_metadata(file.path, header, rules, metadata)
            entry = replace(entry, issues=issues, missing=missing)
        planned.append(entry)
    tops = {
        entry.path: OUTLIER if outliers.get(entry.path) else REGULAR
        for entry in planned
        if not entry.reason
    }
    outputs = plan_output_paths(tops, SUFFIX[settings.format])
    masks = plan_output_paths(dict.fromkeys(tops, MASKS), ".png") if settings.masks else {}
    return [
        replace(
            entry,
            output=outputs[entry.path],
            mask=masks.get(entry.path, ""),
            kind=_KINDS[tops[entry.path]],
        )
        if entry.path in tops
        else entry
        for entry in planned
    ]


def _find_outlier_images(
    files: Sequence[tuple[FileEntry, Header]], rules: QualityRules
) -> Mapping[str, tuple[str, ...]]:
    """Return why an image is an outlier, by path; () for those that are none."""
    rows = pd.DataFrame(
        [
            (file.path, file.category, file.size, header.width, header.height)
            for file, header in files
            if not header.reason and header.width > 0
        ],
        columns=["path", "category", "bytes", "width", "height"],
    )
    if rows.empty:
        return {}
    sizes = find_outliers(rows["bytes"].astype(float), rows["category"], rules.outliers)
    sides = find_outlier_reasons(rows, rules.outliers)
    issues = {}
    for path, size, names in zip(rows["path"], np.asarray(sizes), sides, strict=True):
        issues[str(path)] = ("size_outlier",) * bool(size) + ("dimension_outlier",) * bool(names)
    return issues


def _find_issues(header: Header, rules: QualityRules) -> list[str]:
    issues = find_shape_issues(header.width, header.height, rules) if header.width else []
    return [*issues, *(["wrong_extension"] if header.extension_agrees is False else [])]


def _find_missing_metadata(
    path: str, header: Header, rules: QualityRules, metadata: pd.DataFrame | None
) -> tuple[str, ...]:
    fields = header.metadata.fields if header.metadata else {}
    missing: list[str] = [field for field in rules.exif if not fields.get(field)]
    if metadata is not None:
        row = metadata.loc[path] if path in metadata.index else {}
        missing += [str(column) for column in metadata if not isinstance(row.get(column), str)]
    return tuple(missing)


def _read_headers(
    settings: BatchSettings, source: InputFiles, output: Path, stop: StopRequest
) -> list[tuple[FileEntry, Header]]:
    """Return every file of the input with its header, in the order of the listing."""
    files = source.list([output], settings.follow_links)
    headers: dict[str, Header] = {}
    outcomes = run_tasks(
        files,
        make_header_reader,
        settings.workers or count_available_cores(),
        settings.timeout_s,
        stop,
    )
    with show_progress("headers", len(files)) as step:
        for file, outcome in outcomes:
            if isinstance(outcome, TaskFailure):
                outcome = Header("image", f"its header cannot be read: {outcome.reason}")
            headers[file.path] = outcome
            step(0)
    stop.raise_if_set()
    return [(file, headers[file.path]) for file in files]
