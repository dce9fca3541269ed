"""A sweep: checks every combination, opens and closes the parent, tells how the jobs ended."""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from bgexp.config.credentials import hide_credentials
from bgexp.config.detectors import SoftMaskSettings
from bgexp.config.free_text import unquote_free_text
from bgexp.config.roles import NOT_RESULT, dump_without
from bgexp.config.run import RunSettings
from bgexp.errors import Interruption, UserError
from bgexp.experiment.run import run_experiment
from bgexp.sweep.artifacts import JOBS, draw_sweep
from bgexp.sweep.console import describe_job
from bgexp.system.atomic import make_folder, write_json, write_whole
from bgexp.system.provenance import SCHEMA_VERSION
from bgexp.system.state_files import decode_json, explain_first, read_state
from bgexp.tracking.active_run import close_jobs, open_run
from bgexp.tracking.past_runs import is_finished
from bgexp.tracking.run_folder import LOG, PAGE, SHARED, SUMMARY, RunFolder
from bgexp.tracking.run_names import find_varied_keys, name_sweep
from bgexp.tracking.store import get_first_line

log = logging.getLogger(__name__)


class _SweepRecord(BaseModel):
    """What `sweep.json` holds."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    run_id: str
    score_floors: dict[str, float]
    varied: list[str]
    plan: list[dict[str, Any]]


_EMPTY: Mapping[str, Any] = {}


def run_sweep(
    planned: Sequence[RunSettings], folder: Path, launch: Callable[[], None]
) -> list[RunFolder]:
    """Run the planned jobs by `launch` under one parent run; return the folders of the jobs.

    A job that fails does not end the sweep; the parent is closed in every case. In the folder of
    an earlier sweep that one goes on: its jobs are of this one, and those that finished are kept.
    """
    make_folder(folder)
    earlier = _read_sweep(folder)
    varied = find_varied_keys(planned)
    name = name_sweep(varied, folder.name)
    with open_run(planned[0], "sweep", name, folder, run_id=earlier.get("run_id")) as parent:
        floors = _find_score_floors(planned)
        shared: dict[str, Any] = {"run_id": parent.run_id, "score_floors": floors}
        shared |= {"varied": varied, "plan": _describe_plan(planned)}
        write_json(folder / SHARED, shared)
        began = datetime.now().astimezone()
        stopped = False
        try:
            launch()
        except Interruption:
            stopped = True
            raise
        finally:
            # First what needs no store, which may be away.
            paths = (path.parent for path in folder.glob(f"*/{SUMMARY}"))
            jobs = [RunFolder(path) for path in sorted(paths, key=_make_sort_key)]
            summaries = [job.read_summary() for job in jobs]
            parent.failed = any(summary["status"] != "finished" for summary in summaries)
            rows = [
                describe_job(job, summary) for job, summary in zip(jobs, summaries, strict=True)
            ]
            # No tracked table: in the run list's table view it would hide those of the jobs.
            write_whole(folder / JOBS, pd.DataFrame(rows).to_csv(index=False).encode())
            if jobs and not stopped:  # whoever presses Ctrl-C waits for no page
                _draw(RunFolder(folder), planned[0], jobs, began)
            close_jobs(planned[0], parent.run_id)  # those that were killed in other processes
            parent.set_tags({"bgexp.jobs": str(len(jobs))})
            parent.log_file(folder / JOBS)
            if jobs and not stopped:
                parent.log_file(RunFolder(folder).page)
    return jobs


def check_plan(planned: Sequence[RunSettings], folder: Path) -> None:
    """Check that a sweep of the same jobs began in the folder, or none.

    Raises:
        UserError: One of others.
    """
    shared = _read_sweep(folder)
    if shared and shared.get("plan") != _describe_plan(planned):
        raise UserError(f"sweep.study: {folder.name} is a sweep of other settings, or order")


def _read_sweep(folder: Path) -> dict[str, Any]:
    """Read what all jobs of a sweep know; {} where it has not begun.

    Raises:
        UserError: It is damaged.
    """
    path = folder / SHARED
    if not path.exists():
        return {}
    try:
        return _SweepRecord.model_validate(decode_json(read_state(path))).model_dump()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(f"{path} is damaged: {explain_first(error)}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {get_first_line(error)}") from error


def _describe_plan(planned: Sequence[RunSettings]) -> list[dict[str, Any]]:
    return [dump_without(settings, *NOT_RESULT) for settings in planned]


def _draw(
    folder: RunFolder, settings: RunSettings, jobs: Sequence[RunFolder], began: datetime
) -> None:
    """Draw the page; if that fails, log it: results that took hours are kept."""
    try:
        draw_sweep(folder, settings, jobs, began)
    except Exception as error:
        folder.write_page(f"This page could not be drawn; see {LOG} and {JOBS}.\n".encode())
        log.warning(
            "no %s: %s: %s",
            PAGE,
            type(error).__name__,
            error,
            exc_info=not isinstance(error, UserError | OSError),  # such as a full disk
        )


def run_job(
    settings: RunSettings, folder: RunFolder, overrides: Sequence[str], sweep: Path | None
) -> None:
    """Run one job of a sweep, or the only one; no error inside it is raised.

    Its folder gets a summary in every case; where the work itself broke, that has `status` and
    `error`, and another file tells the place in the code.
    """
    earlier = _read_earlier(folder)
    if earlier.get("status") == "finished" and is_finished(settings, earlier["run_id"]):
        if folder.has_whole_results():
            return  # before the sweep was ended
        log.warning("done again: not whole in %s", folder.path)
    shared = _read_sweep(sweep) if sweep is not None else {}
    settings = _add_score_floor(settings, shared.get("score_floors", {}))
    _write_overrides(folder, overrides)
    try:
        run_experiment(settings, folder, shared.get("run_id"), shared.get("varied", ()))
    except Interruption as stop:
        _write_end(folder, "interrupted", str(stop), folder.read_summary())
        raise
    except UserError as error:  # perhaps of a store that went away when all was computed
        _write_end(folder, "failed", str(error), folder.read_summary())
    except Exception as error:
        folder.write_error(hide_credentials(traceback.format_exc()))
        _write_end(folder, "failed", " ".join(f"{type(error).__name__}: {error}".split()))


def _read_earlier(folder: RunFolder) -> dict[str, Any]:
    """Return the summary of an earlier attempt; a damaged one is none: its job is done again."""
    try:
        return folder.read_summary()
    except UserError:
        with suppress(OSError):
            (folder.path / SUMMARY).unlink()
        return {}


def write_failed_job(folder: RunFolder, overrides: Sequence[str], error: str) -> None:
    """Write what a job leaves that failed before it began, or died."""
    _write_overrides(folder, overrides)
    _write_end(folder, "failed", error)


def _write_overrides(folder: RunFolder, overrides: Sequence[str]) -> None:
    recorded = [
        unquote_free_text([RunSettings], o)
        for o in overrides
        if not o.startswith(("runs_dir=", "force=", "tracking.", "hydra", "sweep"))
    ]
    folder.write_overrides(recorded)


def _find_score_floors(planned: Sequence[RunSettings]) -> dict[str, float]:
    """Return each detector's lowest score that counts in a job: one pass serves them all."""
    floors: dict[str, float] = {}
    for detector in (settings.detector for settings in planned):
        if isinstance(detector, SoftMaskSettings):
            continue
        lowest = floors.get(detector.name, detector.lowest_score)
        floors[detector.name] = min(lowest, detector.lowest_score)
    return floors


def _add_score_floor(settings: RunSettings, floors: Mapping[str, float]) -> RunSettings:
    """Return the settings with the sweep's score floor, where none was set."""
    detector = settings.detector
    if isinstance(detector, SoftMaskSettings) or detector.score_floor is not None:
        return settings
    if detector.name not in floors:
        return settings
    return settings.replace(detector=detector.replace(score_floor=floors[detector.name]))


def _write_end(
    folder: RunFolder, status: str, error: str, summary: Mapping[str, Any] = _EMPTY
) -> None:
    document = {"schema_version": SCHEMA_VERSION, "command": "run", **summary}
    folder.write_summary({**document, "status": status, "error": hide_credentials(error)})


def _make_sort_key(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdigit() else (10**9, path.name)
