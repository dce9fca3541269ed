"""The store: how many runs it holds, and one line for each that cannot be opened."""

import logging
import os
import shlex
import shutil
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from bgexp.config.base import TrackedSettings
from bgexp.errors import UserError
from bgexp.tracking import store


def settings_for(runs, **tracking):
    return TrackedSettings(runs_dir=runs, tracking=tracking)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite://", r"^tracking.uri: sqlite:// names no file \(give sqlite:///FILE.db\)$"),
        ("sqlite:////nosuch/a.db", r"^tracking.uri: .*: no such folder: /nosuch$"),
        ("sqlite:///{}/page.db", r"^tracking.uri: .* is no database, or a damaged one"),
        ("sqlite:///{}", r"^tracking.uri: .*: Is a directory$"),
        ("mysql://me:secret@h/db", r"needs a driver .*\(pip install 'mysqlclient'\)$"),
        ("nosuch://h", r"^tracking.uri: nosuch://h: no store \(allowed: http://…, "),
    ],
)
def test_a_store_that_cannot_be(tmp_path, uri, message):
    (tmp_path / "page.db").write_text("<html>no database</html>")
    with pytest.raises(UserError, match=message) as caught:
        store.open_store(settings_for(tmp_path / "runs", uri=uri.format(tmp_path)))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_store_in_the_runs_folder_that_is_damaged(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"\0" * 4096)
    with pytest.raises(UserError, match=r"mlflow.db is no database, or a damaged one"):
        store.open_store(settings_for(tmp_path))


@pytest.mark.parametrize("status", [200, 404, 503])
def test_a_web_page_in_place_of_a_server(tmp_path, monkeypatch, status):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><html><p>Please log in</html>")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(UserError, match=f"^tracking.uri: {address}: ") as caught:
            store.open_store(settings_for(tmp_path, uri=address))
        assert "\n" not in str(caught.value)
        if status != 503:  # where the client has not looked at it
            assert str(caught.value).endswith(": a web page answers there, and no tracking server")
    finally:
        server.shutdown()
        server.server_close()


def test_a_store_of_an_older_mlflow_is_told_with_the_command_for_it(tmp_path):
    store.open_store(settings_for(tmp_path / "first"))
    database = (tmp_path / "first").rename(tmp_path / "it's") / store.DATABASE  # not MLflow's yet
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '5d2d30f0abce'")
    connection.close()
    with pytest.raises(UserError) as caught:
        store.open_store(settings_for(database.parent))
    command = str(caught.value).partition("it is of an older MLflow: make a copy of it, then ")[2]
    assert shlex.split(command) == ["mlflow", "db", "upgrade", f"sqlite:///{database}"]


@pytest.mark.parametrize(
    ("status", "user", "message"),
    [
        (401, "", "it asks for a user and a password (set MLFLOW_TRACKING_USERNAME and"),
        (401, "ann", "it does not know this user with this password (MLFLOW_TRACKING_USERNAME"),
        (403, "ann", "the user ann has no right to do this"),
    ],
)
def test_a_server_that_does_not_let_in(tmp_path, monkeypatch, status, user, message):
    class Closed(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        def log_message(self, *_):
            pass

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    server = HTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(UserError) as caught:
            store.open_store(settings_for(tmp_path, uri=address))
        assert str(caught.value).startswith(f"tracking.uri: {address}: {message}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_away(tmp_path):
    with pytest.raises(UserError) as caught:
        store.open_store(settings_for(tmp_path, uri="http://127.0.0.1:9"))
    line = "tracking.uri: http://127.0.0.1:9: no server answers there (Connection refused)"
    assert str(caught.value) == line


def test_a_server_has_time_to_start_again_where_work_goes_on(monkeypatch):
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    monkeypatch.setenv(name, "3")
    with store.wait_for_server():
        assert os.environ[name] == "6"
        with store.wait_for_server():  # a job of a sweep
            store.stop_waiting()
            assert os.environ[name] == "3"
    assert os.environ[name] == "3"
    monkeypatch.setenv(name, "1")  # a user's own
    with store.wait_for_server():
        store.stop_waiting()
        assert os.environ[name] == "1"


def test_a_server_that_used_up_its_time_gets_no_more_from_the_next_job(tmp_path, monkeypatch):
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    monkeypatch.setenv(name, "3")
    away = settings_for(tmp_path, uri="http://127.0.0.1:9")
    with store.wait_for_server():  # a sweep
        store.stop_waiting()
        for _ in range(2):
            monkeypatch.setenv(name, "6")  # as Hydra does at the end of a job
            with pytest.raises(UserError, match="no server answers"):
                store.open_store(away)
            assert os.environ[name] == "3"
    with store.wait_for_server():  # it answers again
        monkeypatch.setenv(name, "6")
        store.open_store(settings_for(tmp_path))
        assert os.environ[name] == "6"


def test_tries_are_told_at_work_alone_and_now_and_then(monkeypatch):
    def look(message):
        record = logging.LogRecord("urllib3", logging.WARNING, "", 0, message, ("secret",), None)
        return notice.filter(record) and record.getMessage()

    notice = store._RetryNotice()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    assert not look("Retrying (%s) after connection broken")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
    told = "tracking: the server does not answer; trying again"
    assert look("Retrying (%s) after connection broken") == told
    assert not look("Retrying (%s) after connection broken")
    notice.last -= store._NOTICE_S
    assert look("Retrying (%s) after connection broken") == told
    assert look("Another %s") == "Another secret"


def test_a_deleted_experiment_and_a_deleted_run(tmp_path):
    settings = settings_for(tmp_path, experiment="it's")
    client, experiment = store.open_store(settings)
    run = client.create_run(experiment)
    client.delete_run(run.info.run_id)
    with pytest.raises(Exception, match="active") as caught:
        client.log_param(run.info.run_id, "a", 1)
    told = store.describe_store_error(caught.value)
    assert isinstance(told, UserError)
    assert run.info.run_id in str(told)
    assert "\n" not in str(told)
    assert store.describe_store_error(ValueError("another")) is None
    client.delete_experiment(experiment)
    with pytest.raises(UserError, match=r"^tracking.experiment: \"it's\" was deleted") as caught:
        store.open_store(settings)
    assert f"mlflow experiments restore -x {experiment})" in str(caught.value)


def test_runs_are_counted_over_all_pages(monkeypatch):
    def run(number, status):
        return SimpleNamespace(
            info=SimpleNamespace(run_id=str(number), status=status),
            data=SimpleNamespace(tags={"n": str(number)}),
        )

    class Page(list):
        token = None

    def search_runs(_, max_results, page_token):
        assert max_results == 1000
        page = Page([run(1, "FINISHED"), run(2, "RUNNING")] if not page_token else [])
        page.token = None if page_token else "next"
        return page

    client = SimpleNamespace(search_runs=search_runs)
    monkeypatch.setattr(store, "open_store", lambda _: (client, "0"))
    assert store.count_runs(None) == (2, {"2": {"n": "2"}})


def test_a_header_torn_by_a_power_cut_is_restored_from_the_journal(tmp_path):
    store.open_store(settings_for(tmp_path / "runs"))
    database, copy = tmp_path / "runs/mlflow.db", tmp_path / "copy/mlflow.db"
    copy.parent.mkdir()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("pragma cache_size = 1")  # pages are written before the commit
        connection.execute("begin")
        connection.execute("create table t (x)")
        connection.executemany("insert into t values (?)", [("x" * 4000,)] * 100)
        for file in (database, database.with_name("mlflow.db-journal")):
            shutil.copy(file, copy.parent)
    with copy.open("r+b") as file:
        file.write(bytes(100))
    store.open_store(settings_for(copy.parent))
    with closing(sqlite3.connect(copy)) as connection:
        tables = connection.execute("select name from sqlite_master").fetchall()
    assert ("runs",) in tables
    assert ("t",) not in tables
    copy.write_bytes(bytes(8192))
    with pytest.raises(UserError, match="is no database, or a damaged one"):
        store.open_store(settings_for(copy.parent))
