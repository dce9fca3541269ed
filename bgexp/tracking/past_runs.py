"""Runs of the tracking store that were made earlier: found by what people call them, and read."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bgexp.config.base import TrackedSettings
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.tracking.moved_store import follow_files
from bgexp.tracking.run_folder import SUMMARY, RunFolder
from bgexp.tracking.store import get_first_line, open_store
from bgexp.tracking.stored_files import fetch_run

if TYPE_CHECKING:
    import mlflow.entities
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

LAST = "last"  # the newest sweep or single run
LIMIT = 1000  # runs that are read from a store
RUN, SWEEP = "run", "sweep"  # values of the tag bgexp.command


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run of `bgexp run` that has ended, or goes on.

    Attributes:
        run_id: Its id in the store.
        name: Its name in the store.
        status: MLflow's: FINISHED, FAILED, KILLED or RUNNING.
        parent_run_id: The id of its sweep, if any.
        tags, params, metrics: All of them, as the store has them.
        folder: Its files.
        runs_dir: The runs folder that is used now.
    """

    run_id: str
    name: str
    status: str
    parent_run_id: str | None
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    folder: RunFolder
    runs_dir: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The summary; {} where it left none."""
        return self.folder.read_summary()

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The rows, the columns of `ImageResult.to_columns`; empty where it left none."""
        return self.folder.read_rows()

    @cached_property
    def overrides(self) -> list[str]:
        """Each `key=value` that was given on the command line."""
        return self.folder.read_overrides()

    @cached_property
    def settings(self) -> RunSettings:
        """The settings, checked.

        Raises:
            UserError: it left none, or some that this version of bgexp does not know.
        """
        try:
            return self.folder.read_settings()
        except UserError as error:
            raise UserError(f"run {self.run_id}: {error}") from error

    @property
    def present_settings(self) -> RunSettings:
        """The settings to use now: files of a runs folder that was moved are where they are."""
        return follow_files(self.settings, self.runs_dir)


def find_runs(
    settings: TrackedSettings, words: Sequence[str], where: str | None = None
) -> list[StoredRun]:
    """Find the runs that words name, each once, in their order; of a sweep, its jobs.

    Args:
        settings: The store and the experiment.
        words: Each the beginning of an id (four characters at least), a whole name, `sweep` for the
            newest sweep, or `last` for the newest sweep or single run.
        where: A filter in MLflow's language (`metrics."iou.mean" > 0.8`) of what `words` name, or
            of all runs where that is empty.

    Raises:
        UserError: a word that names no run or several, a filter that cannot be read, or nothing
            is left.
    """
    client, experiment_id = open_store(settings)
    all_runs = _search(client, experiment_id, "")
    named_runs = [run for word in words for run in _match(word, all_runs, settings)]
    selected = (
        [job for run in named_runs for job in _list_jobs(run, all_runs)] if words else all_runs
    )
    if where is not None:
        matching = {run.info.run_id for run in _search(client, experiment_id, where)}
        selected = [run for run in selected if run.info.run_id in matching]
    runs = {run.info.run_id: run for run in selected if _read_command(run) == RUN}
    if not runs:
        request = " ".join([*words, *([f"filter={where}"] if where else [])])
        raise UserError(f"no run of `bgexp run` in {_name_store(settings)} is meant by: {request}")
    return [_read_run(client, run, settings.runs_dir.resolve()) for run in runs.values()]


def find_finished(settings: TrackedSettings, identity: str) -> tuple[str, RunFolder] | None:
    """Find the newest finished run with this identity and whole results; return id and folder."""
    client, experiment_id = open_store(settings)
    query = f"attributes.status = 'FINISHED' and tags.`bgexp.identity` = '{identity}'"
    for run in client.search_runs([experiment_id], query, order_by=["attributes.start_time DESC"]):
        folder = RunFolder(Path(run.data.tags["bgexp.folder"]))
        if folder.has_whole_results():
            return run.info.run_id, folder
        log.warning("results not taken over: not whole in %s", folder.path)
    return None


def is_finished(settings: TrackedSettings, run_id: str) -> bool:
    """Return whether the store has a run as finished."""
    client, experiment_id = open_store(settings)
    query = f"attributes.status = 'FINISHED' and attributes.run_id = '{run_id}'"
    return bool(client.search_runs([experiment_id], query))


def _search(client: "MlflowClient", experiment_id: str, where: str) -> list["mlflow.entities.Run"]:
    """Return the runs that match a filter, the newest first."""
    from mlflow.exceptions import MlflowException

    newest = ["attributes.start_time DESC"]
    try:
        return list(client.search_runs([experiment_id], where, max_results=LIMIT, order_by=newest))
    except MlflowException as error:
        if not where or error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise UserError(f"filter: {where}: {get_first_line(error)}") from error


def _match(
    word: str, runs: Sequence["mlflow.entities.Run"], settings: TrackedSettings
) -> Iterator["mlflow.entities.Run"]:
    bgexp_runs = [run for run in runs if _read_command(run) in (RUN, SWEEP)]
    if word == LAST:
        matches = [run for run in bgexp_runs if "mlflow.parentRunId" not in run.data.tags][:1]
    elif word == SWEEP:
        matches = [run for run in bgexp_runs if _read_command(run) == SWEEP][:1]
    else:
        matches = [run for run in bgexp_runs if len(word) > 3 and run.info.run_id.startswith(word)]
        matches = matches or [run for run in bgexp_runs if run.info.run_name == word]
    if not matches:
        raise UserError(
            f"{word}: no such run in {_name_store(settings)} (allowed: the beginning of the id of "
            "a run or a sweep, its name, sweep for the newest sweep, or last for the newest "
            "of both)"
        )
    if len(matches) > 1:
        ids = ", ".join(run.info.run_id[:8] for run in matches[:4])
        raise UserError(f"{word}: {len(matches)} runs are called so; give an id ({ids} …)")
    yield from matches


def _list_jobs(
    run: "mlflow.entities.Run", runs: Sequence["mlflow.entities.Run"]
) -> Iterator["mlflow.entities.Run"]:
    """Yield the jobs of a sweep in their order; any other run itself."""
    if _read_command(run) != SWEEP:
        yield run
    for job in reversed(runs):
        if job.data.tags.get("mlflow.parentRunId") == run.info.run_id:
            yield job


def _read_command(run: "mlflow.entities.Run") -> str:
    return str(run.data.tags.get("bgexp.command", ""))


def _read_run(client: "MlflowClient", run: "mlflow.entities.Run", runs_dir: Path) -> StoredRun:
    tags = run.data.tags
    folder = RunFolder(Path(tags.get("bgexp.folder", "")))
    if not folder.has(SUMMARY) and run.info.status != "RUNNING":  # made on another machine
        folder = RunFolder(fetch_run(client, run, runs_dir))
    return StoredRun(
        run.info.run_id,
        run.info.run_name,
        run.info.status,
        tags.get("mlflow.parentRunId"),
        tags,
        run.data.params,
        run.data.metrics,
        folder,
        runs_dir,
    )


def _name_store(settings: TrackedSettings) -> str:
    return (
        f"{settings.tracking.uri or settings.runs_dir} (experiment {settings.tracking.experiment})"
    )
