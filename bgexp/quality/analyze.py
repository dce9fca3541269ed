"""`bgexp analyze`: inspect every file of a folder, compare, track and show the results."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.config.analyze import AnalyzeSettings
from bgexp.config.check import flatten_settings
from bgexp.config.command_line import write_command, write_override
from bgexp.errors import UserError
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection, make_inspector
from bgexp.quality.outliers import collect_dimensions, compute_bounds
from bgexp.quality.page import SizeDistribution, render_quality
from bgexp.quality.reconcile import convert_to_dicts, reconcile
from bgexp.quality.table import (
    build_table,
    count_findings,
    count_formats,
    describe_metadata_table,
    read_metadata_table,
    summarize_categories,
)
from bgexp.system.atomic import write_whole
from bgexp.system.cores import count_available_cores
from bgexp.system.hashing import hash_bytes
from bgexp.system.listing import FileEntry, describe_passed_over, list_all_files
from bgexp.system.peak_memory import read_peak_memory
from bgexp.system.progress import show_progress
from bgexp.system.provenance import describe_bgexp
from bgexp.system.safe_csv import encode_safe_csv
from bgexp.system.signals import catch_stop_signals
from bgexp.system.store_copies import fetch_folder
from bgexp.system.terminal import make_printable
from bgexp.system.workers import TaskFailure, preload, run_tasks
from bgexp.tracking.active_run import Run, open_run
from bgexp.tracking.run_folder import PAGE, SUMMARY, RunFolder
from bgexp.tracking.summary import Status, Summary, flatten_numbers

PARQUET, CSV = "quality.parquet", "quality.csv"
SECONDS = 60.0  # time limit of one file


@dataclass(frozen=True)
class Analysis:
    """The results of an analysis.

    Attributes:
        rows: One row per file; docs/quality.md tells what each column means.
        summary: The content of summary.json.
        folder: The folder of its files.
    """

    rows: pd.DataFrame
    summary: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True, kw_only=True)
class AnalysisSummary(Summary):
    """The summary of an analysis; docs/quality.md tells what each number means."""

    command: str = "analyze"
    status: Status = "finished"
    findings: dict[str, int]
    formats: dict[str, int]
    missing: dict[str, int]
    bounds: dict[str, dict[str, float]]
    reconciliation: list[dict[str, Any]]
    seconds: float


def analyze_dataset(settings: AnalyzeSettings, folder: Path) -> Analysis:
    """Inspect every file below `dataset.root`; write table, summary and page into the folder.

    Raises:
        UserError: The root or the metadata file cannot be read.
        Interrupted: A signal came.
    """
    preload("bgexp.quality.inspection")
    root = Path(os.path.realpath(fetch_folder(settings.dataset.root, "dataset.root")))
    try:
        files = list_all_files(root, follow_links=settings.dataset.follow_links)
    except OSError as error:
        raise UserError(f"dataset.root: {root}: {error.strerror}") from error
    if not files:
        raise UserError(f"dataset.root: {root} is empty")
    metadata = read_metadata_table(settings.metadata, [file.path for file in files])
    metadata_form = describe_metadata_table(settings.metadata)
    run_folder = RunFolder(folder)
    run_folder.write_settings(settings)
    with open_run(settings, "analyze", f"analyze {root.name}", folder) as run:
        start_time, start = datetime.now().astimezone(), monotonic()
        inspections = inspect_all(files, settings)
        rows = build_table(inspections, settings, metadata)
        summary = _summarize(settings, root, rows, monotonic() - start, run, metadata_form)
        write_whole(folder / PARQUET, rows.to_parquet(index=False))
        write_whole(folder / CSV, encode_safe_csv(rows))
        page = render_quality(
            summary,
            settings.model_dump(mode="json"),
            rows,
            {row.path: row.thumbnail for row in inspections if row.thumbnail},
            _measure_sizes(rows, settings),
            start_time,
            {name: name for name in (SUMMARY, PARQUET, CSV)},
        )
        run_folder.write_page(page)
        run_folder.write_summary(summary)
        _log_run(run, settings, summary, folder)
    return Analysis(rows, summary, folder)


def inspect_all(files: Sequence[FileEntry], settings: AnalyzeSettings) -> list[Inspection]:
    """Inspect each file, in their order; one that kills its worker twice becomes a row, too."""
    setup = partial(make_inspector, settings.dataset.max_megapixels)
    n_workers = settings.workers or count_available_cores()
    inspections: dict[str, Inspection] = {}
    with catch_stop_signals() as stop, show_progress("files", len(files)) as step:
        for file, result in run_tasks(files, setup, n_workers, SECONDS, stop):
            if isinstance(result, TaskFailure):
                header = Header("image", f"corrupt: {result.reason}", corrupt=True)
                result = Inspection(
                    file.path, file.category, file.size, header, False, header.reason, True
                )
            inspections[file.path] = result
            step(0)
        stop.raise_if_set()
    return [inspections[file.path] for file in files]


def _summarize(
    settings: AnalyzeSettings,
    root: Path,
    rows: pd.DataFrame,
    seconds: float,
    run: Run,
    metadata_form: Mapping[str, Any],
) -> dict[str, Any]:
    counts = count_findings(rows)
    hashes = rows[["path", "sha256"]].to_csv(index=False, errors="backslashreplace")
    return AnalysisSummary(
        run_id=run.run_id,
        dataset={
            "name": "folder",
            "root": str(root),
            "digest": hash_bytes(hashes.encode(errors="backslashreplace")),
            "n_images": counts["images"],
            "n_with_truth": 0,
            "n_population": counts["images"],
            **metadata_form,
        },
        counts={"total": len(rows), "ok": int(rows["decodes"].sum())},
        findings=counts,
        formats=count_formats(rows),
        missing={str(field): int(count) for field, count in _count_missing(rows).items()},
        bounds={
            size.name: {"low": size.low, "high": size.high, "median": size.median}
            for size in _measure_sizes(rows, settings)
        },
        reconciliation=convert_to_dicts(
            reconcile(rows, counts, settings.expected, settings.outliers)
        ),
        categories=summarize_categories(rows),
        seconds=seconds,
        images_per_s=len(rows) / seconds if seconds else 0.0,
        peak_rss_bytes=read_peak_memory(),
    ).to_document()


def _count_missing(rows: pd.DataFrame) -> Mapping[Any, Any]:
    from bgexp.quality.reconcile import count_missing_by_field

    return dict(count_missing_by_field(rows))


def _measure_sizes(rows: pd.DataFrame, settings: AnalyzeSettings) -> list[SizeDistribution]:
    """Return the sizes in which outliers are sought, with the bounds over all images."""
    good = rows[rows["decodes"]]
    units = {"bytes": "bytes", "longer side": "pixels", "shorter side": "pixels", "aspect": ""}
    values = {"bytes": good["bytes"].astype(float), **collect_dimensions(good)}
    sizes = []
    for name, series in values.items():
        limits = compute_bounds(series.to_numpy(float), settings.outliers)
        present = series.dropna().to_numpy(float)
        median = float(pd.Series(present).median()) if len(present) else float("nan")
        sizes.append(SizeDistribution(name, units[name], present, limits.low, limits.high, median))
    return sizes


def _log_run(run: Run, settings: AnalyzeSettings, summary: Mapping[str, Any], folder: Path) -> None:
    run.log_params(flatten_settings(settings))
    run.set_tags({f"bgexp.{key}": str(value) for key, value in describe_bgexp().items()})
    dataset = summary["dataset"]
    run.log_dataset(dataset["name"], dataset["digest"], dataset["root"], dataset["n_images"])
    tracked = ("findings", "seconds", "images_per_s")
    run.log_metrics(flatten_numbers({key: summary[key] for key in tracked}))
    run.log_folder(folder)


def show_analysis(analysis: Analysis, settings: AnalyzeSettings) -> None:
    """Print the findings, beside the expected ones where given, and where to look next."""
    console = Console(highlight=False, soft_wrap=True)
    figures = {entry["name"]: entry for entry in analysis.summary["reconciliation"]}
    table = Table(box=SIMPLE_HEAD)
    table.add_column("finding")
    table.add_column("count", justify="right")
    if figures:
        table.add_column("expected", justify="right")
        table.add_column("")
    for name, count in analysis.summary["findings"].items():
        row = [name.replace("_", " "), f"{count:,}"]
        if figures:
            entry = figures.get(name)
            row += ["", ""] if entry is None else [f"{entry['expected']:,}", entry["explanation"]]
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
    closed = analysis.rows.loc[analysis.rows["kind"] == "closed", "reason"]
    if len(closed):
        passed_over = describe_passed_over(dict(Counter(closed)), "dataset.follow_links")
        console.print(Text(f"Passed over: {make_printable(passed_over)}"))
    console.print(Text(f"Look at: {make_printable(analysis.folder / PAGE)}"))
    source = write_override("batch", "input", settings.dataset.root)
    command = write_command("batch", [source, "output=DIR"], settings)
    console.print(Text(f"Next:    {command}"))
