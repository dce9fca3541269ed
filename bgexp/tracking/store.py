"""The tracking store: opened, with one line where it cannot be reached.

MLflow is imported late: it takes seconds, and `--help` must be quick.
"""

import logging
import os
import sqlite3
from typing import TYPE_CHECKING

from filelock import FileLock

from bgexp.config.base import TrackedSettings
from bgexp.config.credentials import (
    hide_credentials,
    restore_credentials,
    strip_credentials,
)
from bgexp.errors import UserError
from bgexp.system.addresses import make_file_uri, make_sqlite_uri
from bgexp.tracking.empty_store import copy_empty_store
from bgexp.tracking.moved_store import ARTIFACTS, mend_moves

if TYPE_CHECKING:
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # its chatter on tables and monitoring

DATABASE = "mlflow.db"  # in the runs folder
PAGE_SIZE = 1000  # runs read at a time
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


def open_store(settings: TrackedSettings) -> tuple["MlflowClient", str]:
    """Return the client and the experiment's id; a fresh store is set up under a lock.

    A store that several processes open for the first time at once breaks, hence the lock.

    Raises:
        UserError: the store or the server cannot be reached.
    """
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    logging.getLogger("alembic").setLevel(logging.WARNING)
    runs = settings.runs_dir.resolve()
    uri = restore_credentials(settings.tracking.uri or make_sqlite_uri(runs / DATABASE))
    try:
        runs.mkdir(parents=True, exist_ok=True)
        (runs / ".mlflow.lock").touch()
    except OSError as error:
        raise UserError(f"runs_dir: {runs}: {error.strerror}") from error
    if uri.partition("://")[0].partition("+")[0] not in STORES:
        kinds = ", ".join(f"{kind}://…" for kind in STORES)
        raise UserError(f"tracking.uri: {strip_credentials(uri)}: no store (allowed: {kinds})")
    try:
        mlflow.set_tracking_uri(uri)
        with FileLock(runs / ".mlflow.lock", timeout=60):
            if not settings.tracking.uri:
                mend_moves(runs / DATABASE)
                copy_empty_store(runs / DATABASE)
            client = MlflowClient(uri)
            name = settings.tracking.experiment
            experiment = client.get_experiment_by_name(name)
            if experiment is not None:
                return client, str(experiment.experiment_id)
            place = None if settings.tracking.uri else make_file_uri(runs / ARTIFACTS)
            # The UI opens on its views for training then, not on those for language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client, str(client.create_experiment(name, artifact_location=place, tags=kind))
    except (MlflowException, OSError, sqlite3.Error) as error:
        raise describe_unreachable_store(uri, error) from error


def import_store(settings: TrackedSettings) -> None:
    """Import what `open_store` needs; it takes seconds."""
    if settings.tracking.uri:
        import mlflow
    else:
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def count_runs(settings: TrackedSettings) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the number of runs in the store, and the tags of those RUNNING, by run id.

    Raises:
        UserError: the store or the server cannot be reached.
    """
    client, experiment_id = open_store(settings)
    running: dict[str, dict[str, str]] = {}
    total, token = 0, None
    while True:
        page = client.search_runs([experiment_id], max_results=PAGE_SIZE, page_token=token)
        total += len(page)
        running |= {run.info.run_id: run.data.tags for run in page if run.info.status == "RUNNING"}
        if not (token := page.token):
            return total, running


def describe_unreachable_store(uri: str, error: Exception) -> UserError:
    """Return the one line for a store that cannot be reached, credentials left out."""
    return UserError(f"tracking.uri: {strip_credentials(uri)}: {get_first_line(error)}")


def get_first_line(error: Exception) -> str:
    """Return an error's first line without credentials, at most 200 characters."""
    return (hide_credentials(str(error)).splitlines() or [type(error).__name__])[0][:200]
