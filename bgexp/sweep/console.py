"""What the terminal says at the end of a sweep: its table, and where to look."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.config.command_line import write_command
from bgexp.config.run import RunSettings
from bgexp.experiment.truth_findings import describe_truth_findings
from bgexp.system.listing import describe_passed_over
from bgexp.system.terminal import quote_for_shell
from bgexp.tracking.run_folder import LOG, MASKS, SAMPLES, SUMMARY, RunFolder


def build_document(jobs: Sequence[RunFolder]) -> dict[str, Any]:
    """Return the jobs' summaries with their folders, as `--json` prints them."""
    return {"jobs": [{"folder": str(job.path), **job.read_summary()} for job in jobs]}


def show_results(
    jobs: Sequence[RunFolder],
    settings: RunSettings,
    best: Sequence[str] | None = None,
    config_dir: Path | None = None,
) -> bool:
    """Print the jobs as a table, the report and the next command; return whether all finished.

    Args:
        jobs: The folders of the jobs.
        settings: The settings of one of them.
        best: Lines that name the best; None: the job of the highest mean IoU is the best.
        config_dir: Of the user's own configs, which the jobs may name.
    """
    summaries = [job.read_summary() for job in jobs]
    rows = [describe_job(job, summary) for job, summary in zip(jobs, summaries, strict=True)]
    print_table(rows)
    for row, summary in zip(rows, summaries, strict=True):
        if summary["status"] != "finished":
            failed = summary.get("counts", {}).get("failed", 0)
            print(f"Failed:  {row['job']}: {row['error'] or f'{failed} images (see {LOG})'}")
    folder = RunFolder(jobs[0].path.parent) if len(jobs) > 1 else jobs[0]
    print(f"Report:  {folder.page}")
    files = f"{SUMMARY}, {SAMPLES}/, {MASKS}"
    print(
        f"Files:   {folder.path}  ({f'0, 1, …: {files} of each job' if len(jobs) > 1 else files})"
    )
    print(f"Compare: {_compare_command(summaries, settings)}")
    scored = [row for row in rows if row["IoU"] != "-"]
    if best is not None:
        print(*best, sep="\n")
    elif len(scored) > 1:
        words = shlex.split(max(scored, key=lambda row: row["IoU"])["job"])
        # An experiment may sweep by itself.
        words += ["hydra.mode=RUN"] * any(word.startswith("experiment=") for word in words)
        print(f"Best by mean IoU: {write_command('run', words, settings, config_dir)}")
    if not scored:
        print("Scores:  none without truth; give masks by dataset=pairs dataset.masks=DIR")
    for line in dict.fromkeys(line for summary in summaries for line in _describe_dataset(summary)):
        print(line)
    return all(summary["status"] == "finished" for summary in summaries)


def _describe_dataset(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield what else the dataset holds, how its masks were read, and what is wrong with them."""
    dataset = summary.get("dataset") or {}
    if passed_over := dataset.get("passed_over"):
        yield f"Passed over: {describe_passed_over(passed_over, 'dataset.follow_links')}"
    masks = dataset.get("masks")
    if masks and not masks["is_usual"]:
        yield f"Masks:   {masks['description']}"
    yield from describe_truth_findings(summary)


def _compare_command(summaries: Sequence[Mapping[str, Any]], settings: RunSettings) -> str:
    """Return the command that compares these jobs, or this one with another."""
    if len(summaries) == 1:
        arguments = [summaries[0].get("run_id", "last")[:8], "ANOTHER_RUN"]
    else:
        parents = [parent for job in summaries if (parent := job.get("parent_run_id"))]
        arguments = [parents[0][:8] if parents else "sweep"]
    return write_command("compare", arguments, settings)


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print the jobs by the settings in which they differ; shared ones stand below, once."""
    settings = [shlex.split(row["job"]) for row in rows]
    shared = [o for o in settings[0] if all(o in job for job in settings)]
    table = Table(
        title=f"{len(rows)} job{'s' * (len(rows) != 1)}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    keys = [key for key in rows[0] if key not in ("job", "status", "error")]
    keys = [key for key in keys if any(row[key] != "-" for row in rows)]
    if len(rows) > 1:
        table.add_column("job", no_wrap=True)
    for key in keys:
        table.add_column(key.replace(" ", "\n"), justify="right", no_wrap=True)
    for row, job in zip(rows, settings, strict=True):
        differing = [o.partition("=") for o in job if o not in shared]
        label = "\n".join(f"{key.rpartition('.')[2]}={value}" for key, _, value in differing)
        labels = [Text(label)] * (len(rows) > 1)
        table.add_row(*labels, *(Text(row[key]) for key in keys))
    Console().print(table)
    if shared and len(rows) > 1:
        print(f"Shared:  {' '.join(map(quote_for_shell, shared))}")


def describe_job(job: RunFolder, summary: dict[str, Any]) -> dict[str, str]:
    """Return a job's line in the table, all text."""

    def format_mean(kind: str, key: str) -> str:
        value = summary.get(kind, {}).get(key, {}).get("mean")
        return "-" if value is None else f"{value:.3f}"

    counts, speed = summary.get("counts", {}), summary.get("images_per_s")
    return {
        "job": shlex.join(job.read_overrides()) or job.path.name,
        "status": summary["status"],
        "images": f"{counts.get('ok', 0)}/{counts.get('total', 0)}",
        "IoU": format_mean("metrics", "iou"),
        "boundary IoU": format_mean("metrics", "boundary_iou"),
        "fg recall": format_mean("metrics", "foreground_recall"),
        "bg leak": format_mean("metrics", "background_leakage"),
        "nothing found": format_mean("checks", "nothing_found"),
        "img/s": "reused"
        if summary.get("reused_from")
        else "-"
        if speed is None
        else f"{speed:.2f}",
        "error": summary.get("error", ""),
    }
