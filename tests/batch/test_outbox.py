import sqlite3

import pytest

from bgexp.tracking.outbox import OUTBOX, RunRecord, open_outbox

POST = RunRecord(
    "batch x", "bgexp", "FINISHED", 1_700_000_000_000, {}, {"counts.done": 4.0}, {}, []
)


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch):
    monkeypatch.setattr("bgexp.tracking.outbox.SENDING_SECONDS", 300.0)  # a store is set up here


def send_post(settings, messages):
    with open_outbox(settings, messages.append) as send:
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
    assert send_post(settings(), messages)
    assert messages == []
    assert read_run_names(runs) == ["batch x"]
    assert list((runs / OUTBOX).glob("*.json")) == [damaged]


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
