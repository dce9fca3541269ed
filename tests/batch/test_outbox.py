import os
import sqlite3
from dataclasses import asdict

import pytest

from bgexp.system.atomic import write_json
from bgexp.tracking.outbox import OUTBOX, RunRecord, open_outbox

POST = RunRecord("batch x", "bgexp", "FINISHED", 1_700_000_000_000, {}, {"counts.done": 4.0}, {})


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch):
    monkeypatch.setattr("bgexp.tracking.outbox.SENDING_SECONDS", 300.0)  # a store is set up here


def send_post(settings, messages):
    with open_outbox(settings, ["report.html"], messages.append) as send:
        return send(POST)


def read_run_names(runs):
    """Return the names of the store's active runs, read with sqlite alone."""
    with sqlite3.connect(runs / "mlflow.db") as store:
        rows = store.execute("select name from runs where lifecycle_stage = 'active'").fetchall()
    store.close()
    return [name for (name,) in rows]


def test_a_record_that_cannot_be_sent_does_not_hold_up_the_others(settings, tmp_path):
    messages, runs = [], tmp_path / "runs"
    damaged = runs / OUTBOX / "1-damaged.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"name": ')
    os.mkfifo(damaged.with_name("2-pipe.json"))
    write_json(damaged.with_name("3-nested.json"), asdict(POST) | {"params": {"a": [[]]}})
    assert send_post(settings(), messages)
    assert messages == []
    assert read_run_names(runs) == ["batch x"]
    left = sorted(path.name for path in (runs / OUTBOX).glob("*.json"))
    assert left == ["1-damaged.json", "2-pipe.json", "3-nested.json"]


def test_a_record_sends_no_file_but_reports_in_its_folder(settings, tmp_path):
    folder, secret = tmp_path / "out", tmp_path / "secret.txt"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "report.html").write_text("a page")
    (folder / "other.txt").symlink_to(secret)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "report.html").symlink_to(secret)
    for number, place in enumerate((folder, linked)):
        forged = {**asdict(POST), "tags": {"bgexp.folder": str(place)}, "name": f"forged {number}"}
        forged["files"] = [str(secret), "../secret.txt", "other.txt"]
        write_json(tmp_path / "runs" / OUTBOX / f"1-{number}.json", forged)
    assert send_post(settings(), [])
    assert len(read_run_names(tmp_path / "runs")) == 3
    sent = [path for path in (tmp_path / "runs/artifacts").rglob("*") if path.is_file()]
    assert [(path.name, path.read_text()) for path in sent] == [("report.html", "a page")]


def test_a_locked_store_costs_no_record(settings, tmp_path):
    messages, runs = [], tmp_path / "runs"
    assert send_post(settings(), messages)
    store = sqlite3.connect(runs / "mlflow.db", isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    try:
        assert send_post(settings(), messages) == ""
    finally:
        store.execute("ROLLBACK")
        store.close()
    assert len(messages) == 1
    assert "database is locked; the record is kept in " in messages[0]
    assert send_post(settings(), messages)
    assert len(messages) == 1
    assert read_run_names(runs) == ["batch x"] * 3
    assert not list((runs / OUTBOX).glob("*.json"))
