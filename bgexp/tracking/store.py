"""The tracking store: opened, with one line where it cannot be reached.

MLflow is imported late: it takes seconds, and `--help` must be quick.
"""

import json
import logging
import math
import os
import re
import shlex
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
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
from bgexp.system.atomic import make_folder
from bgexp.system.state_files import open_regular
from bgexp.tracking.empty_store import copy_empty_store
from bgexp.tracking.moved_store import ARTIFACTS, mend_moves

if TYPE_CHECKING:
    import mlflow.entities
    from mlflow import MlflowClient

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# A wrong address is told within seconds. Where work goes on, a server has time to start again: the
# pauses double from two seconds on, so that the second number is two minutes.
_AT_START, _AT_WORK = "3", "6"
os.environ.setdefault(_RETRIES, _AT_START)
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Artifacts through the server: the object store behind it need not be reachable from here.
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
os.environ.setdefault("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # its chatter on tables and monitoring

DATABASE = "mlflow.db"  # in the runs folder
PAGE_SIZE = 1000  # runs read at a time
STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
DRIVERS = {  # the packages of these modules and of those below them
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "google.cloud": "google-cloud-storage",
    "azure.identity": "azure-identity",
    "azure": "azure-storage-blob",
}
TRIES = 3  # to reach an SQL store; MLflow's ten take a minute and a half
# By whose errors a store fails: MLflow's own, and those of the clients it has for object stores.
_CLIENTS = ("boto3", "botocore", "google.api_core", "google.auth", "google.cloud", "azure")
_PACKAGES = ("mlflow", "sqlalchemy", "requests", *_CLIENTS)
_SQLITE_HEADER = b"SQLite format 3\0"
_FAILED_FILE = re.compile(r"^#+ File (.+) #+\n(.+)", re.MULTILINE)  # of several that were fetched
_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")\]]+)")
_NOTICE_S = 30  # between two lines that say that a server does not answer


def open_store(settings: TrackedSettings) -> tuple["MlflowClient", str]:
    """Return the client and the experiment's id; a fresh store is set up under a lock.

    A store that several processes open for the first time at once breaks, hence the lock.

    Raises:
        UserError: the store or the server cannot be reached.
    """
    import mlflow
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
    logging.getLogger("urllib3.connectionpool").addFilter(_retry_notice)
    runs = settings.runs_dir.resolve()
    uri = restore_credentials(settings.tracking.uri or make_sqlite_uri(runs / DATABASE))
    try:
        make_folder(runs)
        (runs / ".mlflow.lock").touch()
    except OSError as error:
        raise UserError(f"runs_dir: {runs}: {error.strerror}") from error
    if settings.tracking.uri:
        _check_address(uri)
    else:
        _check_database(runs / DATABASE, "runs_dir")
    _limit_tries(uri)
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
                _refuse_deleted(experiment, uri)
                return client, str(experiment.experiment_id)
            place = None if settings.tracking.uri else make_file_uri(runs / ARTIFACTS)
            # The UI opens on its views for training then, not on those for language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client, str(client.create_experiment(name, artifact_location=place, tags=kind))
    except UserError:
        raise
    except Exception as error:  # MLflow lets those of drivers, SQLAlchemy and JSON through
        stop_waiting()
        raise describe_unreachable_store(uri, error) from error


@contextmanager
def wait_for_server() -> Iterator[None]:
    """Give a server that does not answer two minutes to start again, until it used them up.

    A number of tries that the user has set is left as it is.
    """
    _gave_up.clear()
    if os.environ.get(_RETRIES) != _AT_START:
        yield
        return
    os.environ[_RETRIES] = _AT_WORK
    try:
        yield
    finally:
        os.environ[_RETRIES] = _AT_START


def stop_waiting() -> None:
    """Wait no more for a server that did not come back: the next calls fail within seconds."""
    _gave_up.set()
    if os.environ.get(_RETRIES) == _AT_WORK:
        os.environ[_RETRIES] = _AT_START


class _RetryNotice(logging.Filter):
    """Of urllib3's lines on each try: none at the start, one every half a minute at work."""

    last = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Retrying"):
            return True
        if os.environ.get(_RETRIES) == _AT_START or monotonic() - self.last < _NOTICE_S:
            return False
        self.last = monotonic()
        record.msg, record.args = "tracking: the server does not answer; trying again", ()
        return True


_retry_notice = _RetryNotice()
# Until a server answers again. Hydra gives back the environment as it was before each job.
_gave_up = threading.Event()


def require_store(settings: TrackedSettings) -> None:
    """Check that there is a local store, for what only reads it: a new one would hold nothing.

    Raises:
        UserError: There is none.
    """
    if settings.tracking.uri is None and not (settings.runs_dir / DATABASE).is_file():
        runs = settings.runs_dir.resolve()
        raise UserError(f"runs_dir: no store in {runs}: run bgexp run first")


def import_store(settings: TrackedSettings) -> None:
    """Import what `open_store` needs; it takes seconds."""
    if settings.tracking.uri:
        import mlflow
    else:
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _limit_tries(uri: str) -> None:
    """Let a database be tried a few times, and a server that used up its time no longer."""
    if uri.startswith("http"):
        if _gave_up.is_set():
            stop_waiting()
        return
    import mlflow.store.db.utils

    mlflow.store.db.utils.MAX_RETRY_COUNT = TRIES
    # It tells each try, and each error with a traceback; what comes of them is told once.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _check_address(uri: str) -> None:
    """Refuse an address that cannot be a store's, before MLflow tries it again and again."""
    kind, _, place = uri.partition("://")
    if kind.partition("+")[0] not in STORES:
        kinds = ", ".join(f"{kind}://…" for kind in STORES)
        raise UserError(f"tracking.uri: {strip_credentials(uri)}: no store (allowed: {kinds})")
    if not kind.startswith("sqlite"):
        return
    file = Path(place.removeprefix("/").partition("?")[0])
    if file == Path():
        raise UserError(f"tracking.uri: {uri} names no file (give sqlite:///FILE.db)")
    if not file.parent.is_dir():
        raise UserError(f"tracking.uri: {uri}: no such folder: {file.parent}")
    _check_database(file, "tracking.uri")


def _check_database(file: Path, key: str) -> None:
    """Refuse a file that is there and no SQLite database; an empty one is a new store.

    After a power cut the header can be torn, too: SQLite restores it from the journal beside it.
    """
    try:
        with open_regular(file) as database:
            header = database.read(len(_SQLITE_HEADER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{key}: {file}: {error.strerror}") from error
    if header in (b"", _SQLITE_HEADER):
        return
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("pragma schema_version").fetchall()
    except sqlite3.Error as error:
        raise UserError(
            f"{key}: {file} is no database, or a damaged one: bring a copy of it back, or move it "
            "away"
        ) from error


def _refuse_deleted(experiment: "mlflow.entities.Experiment", uri: str) -> None:
    if experiment.lifecycle_stage != "active":
        address = shlex.quote(strip_credentials(uri))
        raise UserError(
            f"tracking.experiment: {experiment.name!r} was deleted (choose another name, or bring "
            f"it back: MLFLOW_TRACKING_URI={address} mlflow experiments restore -x "
            f"{experiment.experiment_id})"
        )


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


def describe_unreachable_store(uri: str, error: BaseException) -> UserError:
    """Return the one line for a store that cannot be reached, credentials left out."""
    address = strip_credentials(uri)
    reason = explain_store_error(error)
    if "out-of-date database schema" in reason:
        command = f"mlflow db upgrade {shlex.quote(address)}"
        reason = f"it is of an older MLflow: make a copy of it, then {command}"
    return UserError(f"tracking.uri: {address}: {reason}")


def describe_store_error(error: BaseException) -> UserError | None:
    """Return the one line for an error that comes from a store somewhere in the work.

    Such as a run that was deleted meanwhile; None where the error is another one.
    """
    import mlflow

    if not is_of_store(error):
        return None
    return describe_unreachable_store(mlflow.get_tracking_uri(), error)


def explain_store_error(error: BaseException) -> str:
    """Return in a line why a store did not do what it was asked for, credentials left out."""
    import requests

    text = str(error).lower()
    if isinstance(error, ImportError) and error.name:
        package = _find_package(error.name)
        return f"it needs a driver that is not installed (pip install '{package}')"
    if "<html" in text or "<!doctype" in text or isinstance(error, json.JSONDecodeError):
        return "a web page answers there, and no tracking server"
    response = getattr(error, "response", None) if _is_of(error, ("requests",)) else None
    code = getattr(error, "error_code", getattr(response, "status_code", None))
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", 401):
        names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        if os.environ.get("MLFLOW_TRACKING_USERNAME"):
            return f"it does not know this user with this password ({names})"
        return f"it asks for a user and a password (set {names})"
    if code in ("PERMISSION_DENIED", 403):
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
        return (
            f"the user {user} has no right to do this (the experiment's or model's owner gives it)"
        )
    if isinstance(error.__cause__ or error.__context__, requests.RequestException):
        reason = _ERRNO.search(str(error))
        if "error responses" in text:
            return "the server answers with errors (its log tells which)"
        return f"no server answers there{f' ({reason[1]})' if reason else ''}"
    return get_first_line(error)


def is_of_store(error: BaseException) -> bool:
    """Return whether an error is one by which a store fails."""
    return _is_of(error, _PACKAGES)


def _is_of(error: BaseException, packages: tuple[str, ...]) -> bool:
    module = type(error).__module__
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def _find_package(module: str) -> str:
    packages = (p for name, p in DRIVERS.items() if f"{module}.".startswith(f"{name}."))
    return next(packages, module)


def get_first_line(error: BaseException) -> str:
    """Return an error's first line without credentials, at most 200 characters.

    Of files that MLflow could not fetch it is the first file's; MLflow's own says nothing of why.
    """
    text = hide_credentials(str(error))
    if failed_file := _FAILED_FILE.search(text):
        return f"{failed_file[1]}: {failed_file[2]}"[:200]
    return (text.splitlines() or [type(error).__name__])[0][:200]
