"""A new store is what MLflow itself makes, wherever the copy comes from."""

import sqlite3
from contextlib import closing

import pytest

from bgexp.tracking import empty_store
from bgexp.tracking.empty_store import copy_empty_store


def read_store(path):
    """Each table's number of rows, columns, keys and indexes; MLflow makes them in any order."""
    with closing(sqlite3.connect(path)) as connection:

        def ask(query):
            return sorted(map(str, connection.execute(query).fetchall()))

        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: (
                ask(f'SELECT count(*) FROM "{name}"'),
                ask(
                    f'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info("{name}")'
                ),
                ask(f'SELECT "table", "from", "to" FROM pragma_foreign_key_list("{name}")'),
                ask(
                    'SELECT i."unique", group_concat(c.name) FROM pragma_index_list('
                    f'"{name}") i, pragma_index_info(i.name) c GROUP BY i.name'
                ),
            )
            for (name,) in names
        }


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(empty_store, "user_cache_path", lambda name: folder / name)
    return folder


@pytest.mark.slow
def test_a_new_store_is_what_mlflow_makes(cache, tmp_path):
    from mlflow import MlflowClient

    for name in ("made.db", "copied.db"):  # for the first, MLflow makes the template
        copy_empty_store(tmp_path / name)
    (template,) = [path for path in cache.rglob("*") if path.is_file()]
    assert read_store(tmp_path / "made.db") == read_store(tmp_path / "copied.db")
    for name in ("copied.db", "own.db"):
        MlflowClient(f"sqlite:///{tmp_path / name}").create_experiment("x")
    assert read_store(tmp_path / "copied.db") == read_store(tmp_path / "own.db")
    assert read_store(template)["experiments"][0] == ["(0,)"]


def test_a_store_that_is_there_stays(cache, tmp_path):
    store = tmp_path / "mlflow.db"
    store.write_bytes(b"somebody's")
    copy_empty_store(store)
    assert store.read_bytes() == b"somebody's"
    assert not cache.exists()


def test_without_a_cache_mlflow_makes_the_store(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(empty_store, "user_cache_path", lambda name: file / name)
    copy_empty_store(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()

    def refuse(_name):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(empty_store, "user_cache_path", refuse)
    copy_empty_store(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
