"""The only place that talks to MLflow: the store, runs with their parents, artifacts.

MLflow is imported late: it takes seconds, and `--help` must be quick.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psutil
from filelock import FileLock

from bgexp.config import Common
from bgexp.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

MAX_PARAM_LENGTH = 6000


class Run:
    """One tracked run that is going on."""

    def __init__(self, client: "MlflowClient", run_id: str, artifacts: Path | None) -> None:
        self._client, self.run_id, self._artifacts = client, run_id, artifacts

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Records settings; a value is cut at MLflow's limit."""
        from mlflow.entities import Param

        pairs = [Param(key, str(value)[:MAX_PARAM_LENGTH]) for key, value in params.items()]
        for start in range(0, len(pairs), 100):
            self._client.log_batch(self.run_id, params=pairs[start : start + 100])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Records numbers in one call; NaN is left out: MLflow would show it as 0."""
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        entries = [Metric(k, float(v), now, step) for k, v in metrics.items() if v == v]
        for start in range(0, len(entries), 1000):
            self._client.log_batch(self.run_id, metrics=entries[start : start + 1000])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags."""
        from mlflow.entities import RunTag

        self._client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def log_file(self, path: Path, folder: str = "") -> None:
        """Makes a file an artifact: on a local store by a hard link, so that it is stored once."""
        if self._artifacts is not None:
            target = self._artifacts / folder / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                target.hardlink_to(path)
            except OSError:  # another file system
                self._client.log_artifact(self.run_id, str(path), folder or None)
        else:
            self._client.log_artifact(self.run_id, str(path), folder or None)


@contextmanager
def tracked_run(
    settings: Common, name: str, folder: Path, parent_run_id: str | None = None
) -> Iterator[Run]:
    """Opens a run, closes it in every case: FINISHED, FAILED, or KILLED when interrupted."""
    client, experiment_id = open_store(settings)
    tags = {"bgexp.folder": str(folder.resolve()), **_owner_tags()}
    if parent_run_id is not None:
        tags["mlflow.parentRunId"] = parent_run_id
    entity = client.create_run(experiment_id, tags=tags, run_name=name)
    run = Run(client, entity.info.run_id, _local_path(entity.info.artifact_uri))
    try:
        yield run
    except (KeyboardInterrupt, SystemExit):
        client.set_terminated(run.run_id, "KILLED")
        raise
    except BaseException:
        client.set_terminated(run.run_id, "FAILED")
        raise
    client.set_terminated(run.run_id, "FINISHED")


def open_store(settings: Common) -> tuple["MlflowClient", str]:
    """The client and the experiment's id; a fresh store is set up under a lock.

    A store that several processes open for the first time at once breaks, hence the lock.
    """
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    runs = settings.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    uri = settings.tracking.uri or f"sqlite:///{runs / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    try:
        with FileLock(runs / ".mlflow.lock", timeout=60):
            client = MlflowClient(uri)
            name = settings.tracking.experiment
            experiment = client.get_experiment_by_name(name)
            if experiment is not None:
                return client, experiment.experiment_id
            place = None if settings.tracking.uri else (runs / "artifacts").as_uri()
            return client, client.create_experiment(name, artifact_location=place)
    except MlflowException as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"tracking.uri: {without_credentials(uri)}: {reason}") from error


def without_credentials(uri: str) -> str:
    """The address without user and password, as it may be shown and written."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _owner_tags() -> dict[str, str]:
    process = psutil.Process()
    return {
        "bgexp.host": socket.gethostname(),
        "bgexp.pid": str(process.pid),
        "bgexp.process_started": str(process.create_time()),
    }


def _local_path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(parts.path) if parts.scheme in {"", "file"} else None
