"""`bgexp compare`: finds the runs, brings them to the same images, and compares."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bgexp.compare.agreement import add_agreement
from bgexp.compare.artifacts import draw_comparison
from bgexp.compare.common_images import match_images
from bgexp.compare.comparable_runs import label_run
from bgexp.compare.comparison import Comparison, compare_variants
from bgexp.compare.differences import find_cautions, find_differing_settings
from bgexp.compare.document import build_document
from bgexp.config.command_line import write_command
from bgexp.config.compare import CompareSettings
from bgexp.errors import UserError
from bgexp.sweep.effects import name_jobs
from bgexp.sweep.run_result import RunResult
from bgexp.system.atomic import write_json
from bgexp.tracking.past_runs import StoredRun, find_runs
from bgexp.tracking.run_folder import ROWS, RunFolder
from bgexp.tracking.votes import read_votes

DOCUMENT = "compare.json"


def compare_runs(settings: CompareSettings) -> Comparison:
    """Compare the runs that the settings name, on the images that all of them have.

    Raises:
        UserError: Fewer than two finished runs are meant (one, with a reference), or no image is
            common to all.
    """
    candidates = find_runs(settings, settings.runs, settings.filter)
    left_out = {label_run(run): reason for run in candidates if (reason := _explain_unusable(run))}
    runs = [run for run in candidates if label_run(run) not in left_out]
    if settings.baseline is None:
        place = 0
    else:
        runs, place = _add_baseline(_find_one(settings, "baseline", settings.baseline), runs)
    if len(runs) < (1 if settings.reference else 2):
        raise UserError(_describe_too_few(runs, left_out, settings))
    results = _build_results(runs)
    matched = match_images(results)
    comparison = replace(
        compare_variants(matched, results[place].name, settings.metric, settings.cluster),
        left_out=left_out,
        cautions=find_cautions(runs),
        folders={result.name: run.folder for result, run in zip(results, runs, strict=True)},
        votes=read_votes(settings, {run.run_id for run in runs}),
    )
    if settings.reference is None:
        return comparison
    return add_agreement(comparison, _find_one(settings, "reference", settings.reference))


def write_comparison(comparison: Comparison, folder: Path, settings: CompareSettings) -> None:
    """Write compare.json and the page into the folder."""
    write_json(folder / DOCUMENT, build_document(comparison))
    content = settings.model_dump(mode="json")
    draw_comparison(RunFolder(folder), comparison, content, {DOCUMENT: DOCUMENT})


def _explain_unusable(run: StoredRun) -> str:
    """Return why a run cannot be compared; empty where it can."""
    if run.status != "FINISHED":
        return f"it is {run.status.lower()}, not finished"
    return "" if len(run.rows) else f"it left no {ROWS}"


def _find_one(settings: CompareSettings, key: str, word: str) -> StoredRun:
    """Return the one finished run that a word names.

    Raises:
        UserError: It names none, several, or one that cannot be compared.
    """
    try:
        matches = find_runs(settings, [word])
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    if len(matches) > 1:
        raise UserError(f"{key}: {word} is a sweep of {len(matches)} runs; give one of them")
    if reason := _explain_unusable(matches[0]):
        raise UserError(f"{key}: {word}: {reason}")
    return matches[0]


def _add_baseline(baseline: StoredRun, runs: Sequence[StoredRun]) -> tuple[list[StoredRun], int]:
    """Return the runs, the baseline among them, and its place."""
    ids = [run.run_id for run in runs]
    if baseline.run_id in ids:
        return list(runs), ids.index(baseline.run_id)
    return [baseline, *runs], 0


def _describe_too_few(
    runs: Sequence[StoredRun], left_out: Mapping[str, str], settings: CompareSettings
) -> str:
    text = f"runs: two finished runs are needed, {len(runs)} is meant"
    if runs:
        command = write_command("compare", [runs[0].run_id[:8], "RUN"], settings)
        text += f" ({label_run(runs[0])}); name another one: {command}"
    reasons = [f"{name}: {reason}" for name, reason in left_out.items()]
    return text + (f"; left out: {'; '.join(reasons[:3])}" if reasons else "")


def _build_results(runs: Sequence[StoredRun]) -> list[RunResult]:
    """Name the runs by the settings in which they differ; a single one by its name."""
    settings = find_differing_settings(runs)
    names = name_jobs(settings) if len(runs) > 1 else [runs[0].name]
    return [
        RunResult(name, overrides, {**run.summary, "run_id": run.run_id}, run.rows)
        for name, overrides, run in zip(names, settings, runs, strict=True)
    ]
