"""A new store as a copy of an empty one: MLflow takes seconds for all its migrations."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from platformdirs import user_cache_path

from bgexp.system.atomic import make_folder, write_whole


def copy_empty_store(database: Path) -> None:
    """Begin a SQLite store, unless it is there, as a copy of one that MLflow made earlier.

    The copy is kept in the user's cache, one for each version of MLflow. Where that is not
    possible, nothing is written, and MLflow makes the store as it always does.

    Args:
        database: The store's file; nobody else may open it meanwhile.
    """
    import mlflow

    if database.exists():
        return
    with suppress(OSError, RuntimeError, sqlite3.Error):  # no home, no room
        template = user_cache_path("bgexp") / f"empty-store-mlflow-{mlflow.__version__}.db"
        if not template.exists():
            _make_template(template)
        write_whole(database, template.read_bytes())


def _make_template(template: Path) -> None:
    from mlflow import MlflowClient

    make_folder(template.parent)
    with TemporaryDirectory(dir=template.parent) as folder:
        scratch = Path(folder) / "scratch.db"
        MlflowClient(f"sqlite:///{scratch}").search_experiments()
        with closing(sqlite3.connect(scratch)) as connection:
            # The default experiment, whose artifacts lie where MLflow happened to be started.
            connection.execute("DELETE FROM experiments")
            connection.commit()
            connection.execute("VACUUM INTO ?", (f"{folder}/{template.name}",))
        write_whole(template, Path(folder, template.name).read_bytes())
