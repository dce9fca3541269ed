"""The store: whether MLflow can open it, and what runs are in it."""

import importlib.util
import json
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from bgexp.cli.checks import Finding
from bgexp.config.credentials import strip_credentials
from bgexp.config.doctor import DoctorSettings
from bgexp.errors import UserError
from bgexp.system.addresses import make_file_uri, make_sqlite_uri
from bgexp.tracking.moved_store import mend_moves
from bgexp.tracking.run_owner import has_lost_owner
from bgexp.tracking.store import DATABASE, count_runs


def check_store(settings: DoctorSettings) -> Iterator[Finding]:
    """Check the store's schema, then its runs; a missing store is not made."""
    uri, database = settings.tracking.uri, settings.runs_dir.resolve() / DATABASE
    if uri is None and not database.exists():
        yield Finding("store", "ok", f"none yet: the first run makes {database}")
        return
    if uri is None:
        schema = check_schema(database, _find_migrations())
        if schema.status != "ok":
            yield schema
            return
        for old in mend_moves(database):
            yield Finding("store", "ok", f"it was made in {old}; its paths are mended")
    try:
        total, running = count_runs(settings)
    except UserError as error:
        yield Finding("store", "problem", str(error), _suggest_command(uri, database))
        return
    yield schema if uri is None else Finding("store", "ok", _hide_credentials(uri))
    yield check_runs(total, running, _hide_credentials(uri or make_sqlite_uri(database)))


def _find_migrations() -> Path:
    spec = importlib.util.find_spec("mlflow")
    if spec is None or spec.origin is None:
        raise UserError("MLflow is not installed")
    return Path(spec.origin).parent / "store" / "db_migrations" / "versions"


def _suggest_command(uri: str | None, database: Path) -> str:
    if uri is None:  # the schema was checked before: only an older one can be the reason
        place = shlex.quote(str(database))
        uri = make_sqlite_uri(database)
        return f"cp {place} {place}.backup && mlflow db upgrade {shlex.quote(uri)}"
    address = shlex.quote(_hide_credentials(uri))
    return (
        f"curl --fail {address}/health"
        if uri.startswith("http")
        else f"mlflow db upgrade {address}"
    )


def _hide_credentials(uri: str) -> str:
    # A file's address has no host and would lose a slash.
    return strip_credentials(uri) if "@" in uri else uri


def check_schema(database: Path, migrations: Path) -> Finding:
    """Check that the installed MLflow knows an SQLite store's schema, from its `migrations`."""
    path = shlex.quote(str(database))
    try:
        with closing(
            sqlite3.connect(f"{make_file_uri(database)}?mode=ro", 1, uri=True)
        ) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            raise  # locked, or not readable: nothing is known about its content
        text = f"{database} is no MLflow store ({error})"
        return Finding("store", "problem", text, f"mv {path} {path}.broken")
    if not any(migrations.glob(f"{revision}_*.py")):
        text = f"{database}: schema {revision} is of a newer MLflow"
        return Finding("store", "problem", text, "pip install --upgrade mlflow")
    return Finding("store", "ok", f"{database}, schema {revision}")


def check_runs(total: int, running: Mapping[str, Mapping[str, str]], uri: str) -> Finding:
    """Look for runs still RUNNING whose process is gone; `running` has the tags by run id."""
    orphans = [run_id for run_id, tags in running.items() if has_lost_owner(tags)]
    text = f"{total} runs, {len(running) - len(orphans)} at work, {len(orphans)} left RUNNING"
    if not orphans:
        return Finding("runs", "ok", text)
    script = (
        f"import mlflow; c = mlflow.MlflowClient({json.dumps(uri)}); "
        f'[c.set_terminated(r, "KILLED") for r in {json.dumps(orphans)}]'
    )
    mend = f"python -c {shlex.quote(script)}"
    return Finding("runs", "warning", f"{text} by a dead process", mend)
