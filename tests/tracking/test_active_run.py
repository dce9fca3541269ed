"""The store: runs that died, many openers at once, odd values, and no password anywhere."""

import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.config.base import Common, Tracking
from bgexp.config.credentials import (
    STORE_ADDRESS,
    restore_credentials,
    strip_credentials,
    use_credentials,
)
from bgexp.errors import Interruption, UserError
from bgexp.tracking import active_run as tracking
from bgexp.tracking.past_runs import find_finished
from bgexp.tracking.run_folder import MASKS
from bgexp.tracking.store import get_first_line
from tests.run_folders import write_results

pytestmark = pytest.mark.slow
SECRET = "s3cr3t-Pa55"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    runs = tmp_path_factory.mktemp("tracking") / "runs"
    return Common(runs_dir=runs, tracking=Tracking(), seed=0, device="cpu")


@pytest.fixture(scope="module")
def store_client(settings):
    return tracking.open_store(settings)


def read_run(store_client, run):
    return store_client[0].get_run(run.run_id)


def test_values_as_mlflow_takes_them(store_client, settings, tmp_path):
    long, many = "x" * 7000, {f"p{n}": n for n in range(250)}
    with tracking.open_run(settings, "run", "n" * 400, tmp_path) as run:
        run.log_params({"long": long, "list[0]=@,": "kept", "k" * 400: 1, **many})
        run.log_metrics(
            {
                "nan": math.nan,
                "none": None,
                "inf": math.inf,
                "zero": 0.0,
                "category.été/a+b (1).iou.mean": 0.5,
                "m" * 400: 2.0,
                **{f"m{n}": n for n in range(250)},
            }
        )
    stored_run = read_run(store_client, run)
    assert stored_run.info.status == "FINISHED"
    assert stored_run.data.params["long"] == long[:6000]
    assert stored_run.data.params["list_0____"] == "kept"
    assert len(stored_run.data.params) == 253
    assert not {"nan", "none", "inf"} & stored_run.data.metrics.keys()
    assert stored_run.data.metrics["zero"] == 0
    assert stored_run.data.metrics["category.été/a_b _1_.iou.mean"] == 0.5
    assert stored_run.data.metrics["m" * 250] == 2
    assert (
        len(stored_run.data.metrics.keys() - {k for k in stored_run.data.metrics if "system" in k})
        == 253
    )
    assert stored_run.data.tags["bgexp.folder"] == str(tmp_path.resolve())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("boom"), "FAILED"),
        (Interruption(143), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
)
def test_a_run_is_closed_in_every_case(store_client, settings, tmp_path, error, status):
    with (
        pytest.raises(type(error)),
        tracking.open_run(settings, "run", "", tmp_path) as run,
    ):
        raise error
    stored_run = read_run(store_client, run)
    assert stored_run.info.status == status
    assert stored_run.info.end_time is not None
    assert stored_run.data.tags.get("bgexp.error") == (
        "ValueError: boom" if status == "FAILED" else None
    )


def test_a_store_that_breaks_is_one_line(settings, tmp_path):
    from mlflow.exceptions import MlflowException

    with (
        pytest.raises(UserError, match=r"tracking\.uri: sqlite:.*: first$"),
        tracking.open_run(settings, "run", "", tmp_path),
    ):
        raise MlflowException("first\nsecond")


def test_the_same_folder_twice_and_no_hard_links(store_client, settings, tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError("cross-device link")

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("one")
    with tracking.open_run(settings, "run", "", tmp_path) as run:
        run.log_folder(tmp_path)
        run.log_folder(tmp_path)
        monkeypatch.setattr(Path, "hardlink_to", refuse)
        (tmp_path / "sub" / "a.txt").write_text("two")
        run.log_folder(tmp_path)
    path = Path(store_client[0].download_artifacts(run.run_id, "sub/a.txt"))
    assert path.read_text() == "two"


# -- runs left open -----------------------------------------------------------------------------


def open_dead_run(store_client, host, pid, started):
    tags = {"bgexp.host": host, "bgexp.pid": str(pid), "bgexp.process_started": str(started)}
    return store_client[0].create_run(store_client[1], tags=tags).info.run_id


def test_runs_of_dead_processes_are_closed(store_client):
    host = socket.gethostname()
    me, parent = psutil.Process(), psutil.Process(os.getppid())
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    dead = {
        open_dead_run(store_client, host, gone.pid, time.time()),
        open_dead_run(store_client, host, me.pid, me.create_time() - 3600),  # the id was given anew
        open_dead_run(store_client, host, "no number", "either"),
        open_dead_run(store_client, host, -1, 0),
    }
    live = {
        open_dead_run(store_client, host, me.pid, me.create_time()),
        open_dead_run(
            store_client, host, parent.pid, parent.create_time() + 0.5
        ),  # a corrected clock
        open_dead_run(store_client, host + "-other", gone.pid, 0),
        store_client[0].create_run(store_client[1]).info.run_id,  # not one of ours
    }
    try:
        assert set(tracking.close_dead_runs(*store_client)) == dead
        for run_id in dead:
            assert store_client[0].get_run(run_id).info.status == "KILLED"
            assert store_client[0].get_run(run_id).data.tags["bgexp.error"] == "its process died"
        assert {store_client[0].get_run(run_id).info.status for run_id in live} == {"RUNNING"}
        assert tracking.close_dead_runs(*store_client) == []
    finally:
        for run_id in live:
            store_client[0].set_terminated(run_id)


def test_only_finished_runs_with_results_are_found(store_client, settings, tmp_path):
    def run(name, status="FINISHED"):
        folder = write_results(tmp_path / name)
        tags = {"bgexp.identity": "abc", "bgexp.folder": str(folder.path)}
        run_id = store_client[0].create_run(store_client[1], tags=tags).info.run_id
        store_client[0].set_terminated(run_id, status)
        return run_id, folder

    assert find_finished(settings, "abc") is None
    first = run("first")
    assert find_finished(settings, "abc") == first
    (run("damaged")[1].path / MASKS).write_bytes(b"")
    run("killed", "KILLED")
    run("failed", "FAILED")
    assert find_finished(settings, "abc") == first
    assert find_finished(settings, "abd") is None


def test_three_processes_open_one_fresh_store(tmp_path):
    code = (
        "import sys, pathlib, time, mlflow.store.tracking.sqlalchemy_store\n"
        "from bgexp.tracking.active_run import open_store, open_run\n"
        "from bgexp.config.base import Common, Tracking\n"
        "root, me = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "s = Common(runs_dir=root / 'runs', tracking=Tracking(), seed=0, device='cpu')\n"
        "(root / me).touch()\n"
        "while len(list(root.glob('ready*'))) < 3: time.sleep(0.01)\n"
        "with open_run(s, 'run', me, root) as run: run.log_metrics({'a': 1.0})\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), f"ready{n}"], stderr=subprocess.PIPE
        )
        for n in range(3)
    ]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        assert err == b""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("bgexp").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3


# -- credentials --------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1)


@given(TEXT, st.text(min_size=1), TEXT, st.sampled_from(["", "/a%40b", ":80/p"]))
def test_without_credentials(user, password, host, rest):
    bare = f"https://{host}{rest}"
    full = f"https://{user}:{quote(password, safe='@:!/?#')}@{host}{rest}"
    assert strip_credentials(full) == bare
    assert strip_credentials(bare) == bare
    assert strip_credentials(f"https://{user}@{host}{rest}") == bare


@given(st.text())
def test_any_address_can_be_shown(uri):
    shown = strip_credentials(uri)
    assert strip_credentials(shown) == shown
    if "@" not in uri:
        assert shown == uri


@pytest.mark.parametrize(
    "path", ["sqlite:////tmp/a@b/mlflow.db", "sqlite:///a.db", "http://host/a@b", "http://[::1"]
)
def test_what_is_no_credential_stays(path):
    assert strip_credentials(path) == path


def test_use_credentials(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    uri = f"http://me:{quote('p@ss/word:1', safe='')}@host:5000/x"
    assert use_credentials(uri) == "http://host:5000/x"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss/word:1"
    use_credentials("http://host")
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"


SQL_ADDRESSES = [
    "postgresql://me:p/s3cret@host/db",
    "mysql+pymysql://me:%70s3cret@host/db?charset=utf8",
    "postgresql://host/db?user=me&password=s3cret",
    "mssql+pyodbc:///?odbc_connect=PWD%3Ds3cret",
]


@pytest.mark.parametrize("address", SQL_ADDRESSES)
def test_an_sql_store_is_opened_with_its_password_and_shown_without(address, monkeypatch):
    monkeypatch.setenv(STORE_ADDRESS, "")
    settings = Tracking(uri=address)
    assert "s3cret" not in repr(settings)
    assert restore_credentials(settings.uri) == address
    assert restore_credentials("postgresql://another/db") == "postgresql://another/db"


@pytest.mark.parametrize("form", ["s3cret/@x y", "s3cret%2F%40x%20y", "s3cret%2F%40x+y"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLFLOW_TRACKING_PASSWORD", "s3cret/@x y"),
        ("MLFLOW_TRACKING_TOKEN", "s3cret/@x y"),
        ("HTTPS_PROXY", "http://me:s3cret/@x y@proxy:3128"),
        ("all_proxy", "me:s3cret%2F%40x%20y@proxy:3128"),
        (STORE_ADDRESS, "mysql://me:s3cret%2F%40x%20y@host/db"),
    ],
)
def test_no_message_tells_a_credential_in_use(variable, value, form, monkeypatch):
    monkeypatch.setenv(variable, value)
    line = get_first_line(OSError(f"cannot connect as me:{form}@proxy"))
    assert line == "cannot connect as me:***@proxy"


def test_no_message_tells_an_addresss_credentials():
    error = OSError("InvalidURL('http://me:p/w@127.0.0.1:9/api'): postgresql://h/d?password=p&x=1")
    assert get_first_line(error) == (
        "InvalidURL('http://127.0.0.1:9/api'): postgresql://h/d?password=&x=1"
    )


SWEEP = ["-m", "seed=0,1"]
WAYS = {
    "override": ["tracking.uri=URI", *SWEEP],
    "quoted": ["tracking.uri='URI'"],
    "doubly": ['++tracking.uri="URI"'],
    "section": ["tracking={uri:'URI',experiment:x}"],
    "file": ["experiment=server", "--config-dir=mine", *SWEEP],
    "group": ["+server=own", "--config-dir=mine"],
    "variable": ["tracking.uri=${oc.env:ADDRESS}"],
}


@pytest.mark.parametrize("way", WAYS)
def test_credentials_are_written_nowhere(bgexp_cli, fast, tmp_path, monkeypatch, way):
    """The store is local, what would be sent is looked at: its address goes through all layers."""
    real, seen, secret = tracking.open_store, [], "p/" + SECRET

    def local(settings):
        seen.append((settings.tracking.uri, os.environ.get("MLFLOW_TRACKING_PASSWORD")))
        plain = settings.model_copy(update={"tracking": Tracking()})
        return real(plain)

    monkeypatch.chdir(tmp_path)
    uri = f"http://me:{secret}@host.example:5000"
    monkeypatch.setenv("ADDRESS", uri)
    for name in ("experiment/server", "server/own"):
        file = tmp_path / f"mine/{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"# @package _global_\ntracking:\n  uri: {uri}\n")
    for module in ("tracking.active_run", "tracking.past_runs", "experiment.prepare"):
        monkeypatch.setattr(f"bgexp.{module}.open_store", local)
    monkeypatch.setattr(
        "bgexp.experiment.run._compute_results", lambda *_: (_ for _ in ()).throw(OSError("x"))
    )
    overrides = [override.replace("URI", uri) for override in WAYS[way]]
    code, out, err = bgexp_cli("run", *fast, *overrides)
    assert code == 1, err
    assert set(seen) == {("http://host.example:5000", secret)}
    assert SECRET not in out + err
    written = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"config.yaml", "summary.json", "log.txt", "mlflow.db"} <= {p.name for p in written}
    assert ("multirun.yaml" in {path.name for path in written}) == ("-m" in overrides)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    code, out, err = bgexp_cli("run", "--cfg", "job", "--resolve", *overrides)
    assert (code, SECRET in out + err) == (0, False)
