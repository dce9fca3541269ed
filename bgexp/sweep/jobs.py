"""A sweep: checks every combination, opens and closes the parent, tells how the jobs ended."""

import json
import logging
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgexp.config.detectors import Rembg
from bgexp.config.run import RunSettings
from bgexp.errors import Interrupted, UserError
from bgexp.experiment.artifacts import PAGE
from bgexp.experiment.run import run_experiment
from bgexp.sweep.artifacts import draw_sweep
from bgexp.system.atomic import write_json, write_whole
from bgexp.system.provenance import SCHEMA_VERSION
from bgexp.tracking.active_run import close_dead, tracked_run
from bgexp.tracking.run_names import sweep_name, varied_keys

log = logging.getLogger(__name__)

SHARED = "sweep.json"  # in the sweep's folder: what jobs, in other processes too, have to know
OVERRIDES = "overrides.json"  # in a job's
_NOTHING: Mapping[str, Any] = {}


def run_sweep(
    planned: Sequence[RunSettings], folder: Path, launch: Callable[[], None]
) -> list[Path]:
    """Lets `launch` run the planned jobs under one parent run; returns the folders of the jobs.

    A job that fails does not end the sweep; the parent is closed in every case. In the folder of
    an earlier sweep that one goes on: its jobs are of this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = json.loads((folder / SHARED).read_text()) if (folder / SHARED).exists() else {}
    varied = varied_keys(planned)
    name = sweep_name(varied, folder.name)
    with tracked_run(planned[0], "sweep", name, folder, run_id=earlier.get("run_id")) as parent:
        floors = _score_floors(planned)
        shared = {"run_id": parent.run_id, "score_floors": floors, "varied": varied}
        write_json(folder / SHARED, shared)
        began = datetime.now().astimezone()
        stopped = False
        try:
            launch()
        except Interrupted:
            stopped = True
            raise
        finally:
            close_dead(planned[0])  # jobs that were killed in other processes
            jobs = sorted(
                (path.parent for path in folder.glob("*/summary.json")), key=_natural_order
            )
            summaries = [read_summary(job) for job in jobs]
            parent.set_tags({"bgexp.jobs": str(len(jobs))})
            parent.failed = any(summary["status"] != "finished" for summary in summaries)
            rows = [_cells(job, summary) for job, summary in zip(jobs, summaries, strict=True)]
            # No tracked table: in the run list's table view it would hide those of the jobs.
            write_whole(folder / "jobs.csv", pd.DataFrame(rows).to_csv(index=False).encode())
            parent.log_file(folder / "jobs.csv")
            if jobs and not stopped:  # whoever presses Ctrl-C waits for no page
                _draw(folder, planned[0], jobs, began)
                parent.log_file(folder / PAGE)
    return jobs


def _draw(folder: Path, settings: RunSettings, jobs: Sequence[Path], began: datetime) -> None:
    """Results that took hours are not lost to a page that cannot be drawn."""
    try:
        draw_sweep(folder, settings, jobs, began)
    except Exception as error:
        write_whole(folder / PAGE, b"This page could not be drawn; see log.txt and jobs.csv.\n")
        log.warning("no report.html: %s: %s", type(error).__name__, error, exc_info=True)


def run_job(
    settings: RunSettings, folder: Path, overrides: Sequence[str], sweep: Path | None
) -> None:
    """One job of a sweep, or the only one: never raises for what goes wrong inside it.

    Its folder gets summary.json in every case; where the work itself broke, it has `status` and
    `error`, and error.txt tells the place in the code.
    """
    shared = json.loads((sweep / SHARED).read_text()) if sweep is not None else {}
    settings = _with_floor(settings, shared.get("score_floors", {}))
    _write_overrides(folder, overrides)
    try:
        run_experiment(settings, folder, shared.get("run_id"), shared.get("varied", ()))
    except Interrupted as stop:
        found = read_summary(folder) if (folder / "summary.json").exists() else {}
        _write_end(folder, "interrupted", str(stop), found)
        raise
    except UserError as error:
        _write_end(folder, "failed", str(error))
    except Exception as error:
        write_whole(folder / "error.txt", traceback.format_exc().encode(errors="replace"))
        _write_end(folder, "failed", " ".join(f"{type(error).__name__}: {error}".split()))


def fail_job(folder: Path, overrides: Sequence[str], error: str) -> None:
    """Leaves what a job leaves that failed before it began."""
    _write_overrides(folder, overrides)
    _write_end(folder, "failed", error)


def _write_overrides(folder: Path, overrides: Sequence[str]) -> None:
    shown = [o for o in overrides if not o.startswith(("runs=", "force=", "tracking.", "hydra"))]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / OVERRIDES, shown)


def _score_floors(planned: Sequence[RunSettings]) -> dict[str, float]:
    """For each detector the lowest score that counts in a job: one pass serves them all."""
    floors: dict[str, float] = {}
    for detector in (settings.detector for settings in planned):
        if isinstance(detector, Rembg):
            continue
        lowest = floors.get(detector.name, detector.lowest_score)
        floors[detector.name] = min(lowest, detector.lowest_score)
    return floors


def _with_floor(settings: RunSettings, floors: Mapping[str, float]) -> RunSettings:
    """The settings with the sweep's score floor, where none was set."""
    detector = settings.detector
    if isinstance(detector, Rembg) or detector.score_floor is not None:
        return settings
    if detector.name not in floors:
        return settings
    lowered = detector.model_copy(update={"score_floor": floors[detector.name]})
    return settings.model_copy(update={"detector": lowered})


def _write_end(folder: Path, status: str, error: str, found: Mapping[str, Any] = _NOTHING) -> None:
    ended = {"schema_version": SCHEMA_VERSION, "command": "run", **found}
    write_json(folder / "summary.json", {**ended, "status": status, "error": error})


def read_summary(folder: Path) -> dict[str, Any]:
    """A job's summary.json."""
    return dict(json.loads((folder / "summary.json").read_text()))


def read_overrides(folder: Path) -> list[str]:
    """What a job was given."""
    return list(json.loads((folder / OVERRIDES).read_text()))


def show_results(
    jobs: Sequence[Path], settings: RunSettings, best: Sequence[str] | None = None
) -> bool:
    """Prints the jobs as a table, where to look and what to type next; whether all finished.

    Args:
        jobs: Their folders.
        settings: Of one of them.
        best: Lines that name the best; None: it is the one of the highest mean IoU.
    """
    summaries = [read_summary(job) for job in jobs]
    rows = [_cells(job, summary) for job, summary in zip(jobs, summaries, strict=True)]
    print_table(rows)
    for row, summary in zip(rows, summaries, strict=True):
        if summary["status"] != "finished":
            failed = summary.get("counts", {}).get("failed", 0)
            print(f"Failed:  {row['job']}: {row['error'] or f'{failed} images (see log.txt)'}")
    folder = jobs[0].parent if len(jobs) > 1 else jobs[0]
    print(f"Report:  {folder / PAGE}")
    inside = "summary.json, samples/, masks.zip"
    print(f"Files:   {folder}  ({f'0, 1, …: {inside} of each job' if len(jobs) > 1 else inside})")
    print(f"Compare: {_compare(summaries, settings)}")
    scored = [row for row in rows if row["IoU"] != "-"]
    if best is not None:
        print(*best, sep="\n")
    elif len(scored) > 1:
        best = max(scored, key=lambda row: row["IoU"])["job"]
        alone = " hydra.mode=RUN" * ("experiment=" in best)  # an experiment may sweep by itself
        print(f"Best by mean IoU: bgexp run {best}{alone}")
    if not scored:
        print("Scores:  none without truth; give masks by dataset=pairs dataset.masks=DIR")
    return all(summary["status"] == "finished" for summary in summaries)


def _compare(summaries: Sequence[Mapping[str, Any]], settings: RunSettings) -> str:
    """The command that compares these jobs, or this one with another."""
    if len(summaries) == 1:
        words = [summaries[0].get("run_id", "last")[:8], "ANOTHER_RUN"]
    else:
        parents = [one["parent_run_id"] for one in summaries if one.get("parent_run_id")]
        words = [parents[0][:8] if parents else "sweep"]
    words = ["bgexp", "compare", *words]
    return shlex.join(words + [f"runs={settings.runs}"] * (settings.runs != Path("runs")))


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """The jobs by what tells them apart; what they share stands below, once."""
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
        own = [o.partition("=") for o in job if o not in shared]
        label = "\n".join(f"{key.rpartition('.')[2]}={value}" for key, _, value in own)
        labels = [Text(label)] * (len(rows) > 1)
        table.add_row(*labels, *(Text(row[key]) for key in keys))
    Console().print(table)
    if shared and len(rows) > 1:
        print(f"Shared:  {shlex.join(shared)}")


def _cells(job: Path, summary: dict[str, Any]) -> dict[str, str]:
    """A job's line in the table, all text."""

    def mean(kind: str, key: str) -> str:
        value = summary.get(kind, {}).get(key, {}).get("mean")
        return "-" if value is None else f"{value:.3f}"

    counts, speed = summary.get("counts", {}), summary.get("images_per_s")
    return {
        "job": shlex.join(read_overrides(job)) or job.name,
        "status": summary["status"],
        "images": f"{counts.get('ok', 0)}/{counts.get('total', 0)}",
        "IoU": mean("metrics", "iou"),
        "boundary IoU": mean("metrics", "boundary_iou"),
        "fg recall": mean("metrics", "foreground_recall"),
        "bg leak": mean("metrics", "background_leakage"),
        "nothing found": mean("checks", "nothing_found"),
        "img/s": "reused"
        if summary.get("reused_from")
        else "-"
        if speed is None
        else f"{speed:.2f}",
        "error": summary.get("error", ""),
    }


def _natural_order(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdigit() else (10**9, path.name)
