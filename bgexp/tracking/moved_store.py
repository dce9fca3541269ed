"""A runs folder that was moved, renamed or copied: its store is told where it is now.

MLflow keeps absolute addresses. Here is the only place that knows of it: the store is mended before
anything reads it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from bgexp.config.base import Section
from bgexp.config.run import RunSettings
from bgexp.system.addresses import make_file_uri, read_file_uri

ARTIFACTS = "artifacts"  # the folder below the runs folder
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_LOCK_SECONDS = 60


def mend_moves(database: Path) -> list[Path]:
    """Let a store point to the folder that it is in; return the folders that it came from.

    Files that lay elsewhere keep their place.

    Raises:
        sqlite3.Error: It cannot be read or written, or is no store of MLflow.
    """
    runs = database.parent
    if not database.exists():
        return []
    with closing(sqlite3.connect(database, timeout=_LOCK_SECONDS)) as connection:
        old_folders = list(_find_old_folders(connection, runs))
        for old in old_folders:
            for table, column in _ADDRESSES:
                _replace_start(connection, table, column, make_file_uri(old), make_file_uri(runs))
            _replace_start(connection, "tags", "value", str(old), str(runs))
        connection.commit()
    return old_folders


def follow_files(settings: RunSettings, runs: Path) -> RunSettings:
    """Return a run's settings with files of its runs folder, such as weights, where they are now.

    Args:
        settings: As the run had them.
        runs: The folder that the runs folder is now.
    """
    old = settings.runs_dir.name
    sections: dict[str, Section] = {}
    for name in ("dataset", "detector", "refine"):
        section: Section = getattr(settings, name)
        paths = {key: value for key, value in section if isinstance(value, Path)}
        moved = {key: _follow_file(path, old, runs) for key, path in paths.items()}
        sections[name] = section.replace(**moved)
    return settings.replace(**sections)


def _follow_file(path: Path, old: str, runs: Path) -> Path:
    """Return where a file is that was below a runs folder of this name; itself if it is there."""
    if path.exists():
        return path
    inner = (path.parts[n + 1 :] for n, name in enumerate(path.parts) if name == old)
    places = (runs.joinpath(*parts) for parts in inner if parts)
    return next((place for place in places if place.exists()), path)


def _find_old_folders(connection: sqlite3.Connection, runs: Path) -> Iterator[Path]:
    """Yield other runs folders that the store names as its own, by their folder of artifacts."""
    if not _has_column(connection, "experiments", "artifact_location"):
        return
    query = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    for (uri,) in connection.execute(query, (f"file:///%/{ARTIFACTS}",)).fetchall():
        place = read_file_uri(uri)
        if place is not None and place.parent != runs:
            yield place.parent


def _replace_start(
    connection: sqlite3.Connection, table: str, column: str, old: str, new: str
) -> None:
    """Replace the start of a column's paths and addresses, up to a slash."""
    if _has_column(connection, table, column):
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
            f"WHERE substr({column}, 1, ?) = ?",
            (f"{new}/", len(old) + 2, len(old) + 1, f"{old}/"),
        )


def _has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    """Tell whether the store has a column: one of an older MLflow may lack it."""
    known = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
    return connection.execute(known, (table, column)).fetchone() is not None
