"""A sweep: checks every combination, opens and closes the parent, tells how the jobs ended."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.config import RunSettings
from bgexp.experiment import run_experiment
from bgexp.files import write_json
from bgexp.tracking import tracked_run

PARENT = "sweep.json"  # in the sweep's folder: how jobs in other processes find their parent


def run_sweep(settings: RunSettings, folder: Path, launch: Callable[[], None]) -> list[Path]:
    """Lets `launch` run the jobs under one parent run; returns the folders of the jobs.

    A job that fails does not end the sweep; the parent is closed in every case.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tracked_run(settings, f"sweep {folder.name}", folder) as parent:
        write_json(folder / PARENT, {"run_id": parent.run_id})
        try:
            launch()
        finally:
            jobs = sorted(
                (path.parent for path in folder.glob("*/summary.json")), key=_natural_order
            )
            summaries = [read_summary(job) for job in jobs]
            parent.log_params({"jobs": len(jobs)})
            parent.failed = any(summary["status"] != "finished" for summary in summaries)
            rows = [_cells(job, summary) for job, summary in zip(jobs, summaries, strict=True)]
            if rows:
                columns = {key: [row[key] for row in rows] for key in rows[0]}
                parent.log_table(columns, "jobs.json")
    return jobs


def run_job(
    settings: RunSettings, folder: Path, overrides: Sequence[str], sweep: Path | None
) -> None:
    """One job of a sweep, or the only one: never raises for what goes wrong inside it.

    Its folder gets summary.json in every case; a failed one's has `status` and `error`.
    """
    parent = json.loads((sweep / PARENT).read_text())["run_id"] if sweep is not None else None
    shown = [o for o in overrides if not o.startswith(("runs=", "force=", "tracking.", "hydra."))]
    name = " ".join(shown) if sweep is not None else ""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "overrides.json", shown)
    try:
        run_experiment(settings, folder, parent, name)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        failed = {"schema_version": 1, "command": "run", "status": "failed", "error": reason}
        write_json(folder / "summary.json", failed)


def read_summary(folder: Path) -> dict[str, Any]:
    """A job's summary.json."""
    return dict(json.loads((folder / "summary.json").read_text()))


def show_results(jobs: Sequence[Path], settings: RunSettings) -> bool:
    """Prints the jobs as a table, where to look and what to type next; whether all finished."""
    console = Console()
    if not console.is_terminal:
        console.width = 160
    rows = [_cells(job, read_summary(job)) for job in jobs]
    table = Table(title=f"{len(rows)} job{'s' * (len(rows) != 1)}", title_justify="left")
    for key in rows[0]:
        table.add_column(key, justify="left" if key in ("job", "status", "error") else "right")
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))
    console.print(table)
    folder = jobs[0].parent if len(jobs) > 1 else jobs[0]
    print(f"Files:   {folder}  (summary.json, samples/, masks.zip)")
    print(f"Compare: bgexp ui runs={settings.runs}   then open the runs in a browser")
    best = max(rows, key=lambda row: row["IoU"] if row["IoU"] != "-" else "")
    if best["IoU"] != "-" and len(rows) > 1:
        print(f"Best by mean IoU: bgexp run {best['job']}")
    if all(row["IoU"] == "-" for row in rows):
        print("Scores:  none without truth; give masks by dataset=pairs dataset.masks=DIR")
    return all(row["status"] == "finished" for row in rows)


def _cells(job: Path, summary: dict[str, Any]) -> dict[str, str]:
    """A job's line in the table, all text."""

    def mean(kind: str, key: str) -> str:
        value = summary.get(kind, {}).get(key, {}).get("mean")
        return "-" if value is None else f"{value:.3f}"

    counts = summary.get("counts", {})
    reused = " (reused)" if summary.get("reused_from") else ""
    return {
        "job": " ".join(json.loads((job / "overrides.json").read_text())) or job.name,
        "status": summary["status"],
        "images": f"{counts.get('ok', 0)} of {counts.get('total', 0)}",
        "IoU": mean("metrics", "iou"),
        "boundary IoU": mean("metrics", "boundary_iou"),
        "fg recall": mean("metrics", "foreground_recall"),
        "bg leakage": mean("metrics", "background_leakage"),
        "nothing found": mean("checks", "nothing_found"),
        "images/s": f"{summary.get('images_per_s', 0):.2f}{reused}",
        "error": summary.get("error", ""),
    }


def _natural_order(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdigit() else (10**9, path.name)
