"""The only place that talks to MLflow: the store, runs with their parents, artifacts.

MLflow is imported late: it takes seconds, and `--help` must be quick.
"""

import json
import logging
import math
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import numpy as np

from bgexp.config.base import TrackedSettings
from bgexp.config.credentials import hide_credentials
from bgexp.errors import Interruption
from bgexp.system.addresses import read_file_uri
from bgexp.system.atomic import make_folder, sync_tree
from bgexp.tracking.run_owner import has_lost_owner, make_owner_tags
from bgexp.tracking.store import (
    describe_store_error,
    get_first_line,
    open_store,
    stop_waiting,
    wait_for_server,
)
from bgexp.tracking.stored_files import fetch_files

if TYPE_CHECKING:
    import mlflow.entities
    from mlflow import MlflowClient

MAX_PARAM_LENGTH = 6000
MAX_KEY_LENGTH = 250
BATCH = 100  # MLflow's limit for parameters in one call; for metrics it is higher
SOURCE_TAGS = {"mlflow.source.name": "bgexp", "mlflow.source.type": "LOCAL"}
SYSTEM_METRICS_SECONDS = 2

log = logging.getLogger(__name__)


class Run:
    """One open tracked run."""

    def __init__(self, client: "MlflowClient", entity: "mlflow.entities.Run") -> None:
        self._client, self.run_id = client, str(entity.info.run_id)
        self.parent_run_id: str | None = entity.data.tags.get("mlflow.parentRunId")
        self._artifacts = read_file_uri(entity.info.artifact_uri)
        self.failed = False  # set where the work ended by itself and counts as failed

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings; a value is cut at MLflow's limit."""
        from mlflow.entities import Param

        pairs = [Param(_clean_key(k), str(v)[:MAX_PARAM_LENGTH]) for k, v in params.items()]
        for start in range(0, len(pairs), BATCH):
            self._client.log_batch(self.run_id, params=pairs[start : start + BATCH])

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Record numbers; an undefined one is left out, since MLflow would show it as 0."""
        from mlflow.entities import Metric

        now = int(1000 * time())
        finite = {k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)}
        entries = [Metric(_clean_key(k), v, now, step) for k, v in finite.items()]
        for start in range(0, len(entries), BATCH):
            self._client.log_batch(self.run_id, metrics=entries[start : start + BATCH])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_file(self, path: Path, folder: str = "") -> None:
        """Make a file an artifact: on a local store by a hard link, so that it is stored once."""
        if self._artifacts is not None:
            target = self._artifacts / folder / path.name
            make_folder(target.parent)
            target.unlink(missing_ok=True)
            with suppress(OSError):  # another file system: MLflow copies
                target.hardlink_to(path)
                return
        self._client.log_artifact(self.run_id, str(path), folder or None)

    def log_folder(self, root: Path) -> None:
        """Make every file under a folder an artifact, sub-folders kept."""
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            folder = path.parent.relative_to(root).as_posix()
            self.log_file(path, "" if folder == "." else folder)

    def sync(self) -> None:
        """Bring the artifacts of a local store to disk, with their names."""
        if self._artifacts is not None:
            sync_tree(self._artifacts)

    def log_table(self, columns: Mapping[str, Sequence[Any]], name: str) -> None:
        """Log a table that the run list can compare; an HxWx3 uint8 array becomes a picture."""
        from mlflow import Image

        def convert_cell(value: Any) -> Any:  # noqa: ANN401
            return Image(value) if isinstance(value, np.ndarray) else value

        data = {key: [convert_cell(value) for value in values] for key, values in columns.items()}
        self._client.log_table(self.run_id, data, name)

    def log_dataset(self, name: str, digest: str, source: str, n_images: int) -> None:
        """Name the data that the run used, for MLflow's dataset column."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        location, size = json.dumps({"uri": source}), json.dumps({"num_rows": n_images})
        dataset = Dataset(name, digest[:32], "local", location, profile=size)
        tags = [InputTag("mlflow.data.context", "evaluation")]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def copy_artifacts(self, run_id: str) -> None:
        """Take over all artifacts of another run."""
        self.log_folder(fetch_files(self._client, run_id))


@contextmanager
def open_run(
    settings: TrackedSettings,
    command: str,
    name: str,
    folder: Path,
    parent_run_id: str | None = None,
    run_id: str | None = None,
) -> Iterator[Run]:
    """Open a run and close it in every case: FINISHED, FAILED, or KILLED when interrupted.

    Args:
        settings: The store and the experiment.
        command: The kind of run: run, sweep, train and so on; the tag `bgexp.command`.
        name: The name that the store shows.
        folder: The folder of its files.
        parent_run_id: The id of its sweep, if any.
        run_id: The id of an earlier run that goes on; None: a new one.
    """
    client, experiment_id = open_store(settings)
    tags = {"bgexp.command": command, "bgexp.folder": str(folder.resolve())}
    tags |= {**make_owner_tags(), **SOURCE_TAGS}
    if parent_run_id is not None:
        tags["mlflow.parentRunId"] = parent_run_id
    try:
        close_dead_runs(client, experiment_id)
        if run_id is None:
            entity = client.create_run(experiment_id, tags=tags, run_name=name[:MAX_KEY_LENGTH])
        else:
            entity = _reopen_run(client, run_id, tags)
    except Exception as error:
        if (store_error := describe_store_error(error)) is None:
            raise
        stop_waiting()
        raise store_error from error
    run = Run(client, entity)
    with wait_for_server():
        yield from _keep_open(run, client)


def _keep_open(run: Run, client: "MlflowClient") -> Iterator[Run]:
    from mlflow.exceptions import MlflowException

    status = "FAILED"
    try:
        with _log_system_metrics(run.run_id):
            yield run
        run.sync()
        status = "FAILED" if run.failed else "FINISHED"
    except (Interruption, KeyboardInterrupt):
        status = "KILLED"
        raise
    except Exception as error:
        store_error = describe_store_error(error)
        if store_error is not None:
            stop_waiting()
        with suppress(MlflowException):
            reason = hide_credentials(f"{type(error).__name__}: {error}")
            run.set_tags({"bgexp.error": reason[:5000]})
        if store_error is not None:
            raise store_error from error
        raise
    finally:
        try:
            client.set_terminated(run.run_id, status)
        except MlflowException as error:
            stop_waiting()
            log.warning("run %s stays open: %s", run.run_id, get_first_line(error))


def _reopen_run(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> Any:  # noqa: ANN401
    entity = client.get_run(run_id)
    Run(client, entity).set_tags(tags)
    client.update_run(run_id, "RUNNING")
    return entity


def close_jobs(settings: TrackedSettings, parent_run_id: str) -> None:
    """Close the jobs of a sweep that are RUNNING after its end, whichever host they were on."""
    client, experiment_id = open_store(settings)
    of_parent = f"tags.`mlflow.parentRunId` = '{parent_run_id}'"
    query = f"attributes.status = 'RUNNING' and {of_parent}"
    for run in client.search_runs([experiment_id], query):
        _close_dead_run(client, run.info.run_id)


def close_dead_runs(client: "MlflowClient", experiment_id: str) -> list[str]:
    """Close runs that dead processes of this host left RUNNING; return their ids."""
    own_running = f"attributes.status = 'RUNNING' and tags.`bgexp.host` = '{socket.gethostname()}'"
    dead = [
        run.info.run_id
        for run in client.search_runs([experiment_id], own_running)
        if has_lost_owner(run.data.tags)
    ]
    for run_id in dead:
        _close_dead_run(client, run_id)
    return dead


def _close_dead_run(client: "MlflowClient", run_id: str) -> None:
    client.set_tag(run_id, "bgexp.error", "its process died")
    client.set_terminated(run_id, "KILLED")


@contextmanager
def _log_system_metrics(run_id: str) -> Iterator[None]:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
        run_id, sampling_interval=SYSTEM_METRICS_SECONDS
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _clean_key(name: str) -> str:
    """Return a name as MLflow takes it: letters and digits of any script, `_ - . / :`, spaces."""
    return re.sub(r"[^\w\-./: ]", "_", name)[:MAX_KEY_LENGTH]
