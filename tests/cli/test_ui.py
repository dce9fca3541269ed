import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from hydra import compose, initialize_config_dir

from bgexp.cli import ui
from bgexp.config.base import Common, Tracking
from bgexp.config.check import check_settings
from bgexp.config.doctor import UiSettings
from bgexp.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
PNG = b"\x89PNG\r\n\x1a\n and more"


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings_for(runs, port, **extra):
    return UiSettings(
        runs_dir=runs, tracking=Tracking(**extra.pop("tracking", {})), port=port, **extra
    )


def compose_settings(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return dict(compose("ui", list(overrides)))


def test_the_shipped_settings():
    settings = check_settings(UiSettings, compose_settings())
    assert (settings.host, settings.port) == ("127.0.0.1", 5000)


def test_a_port_out_of_range():
    with pytest.raises(UserError, match=r"^port: .*65535"):
        check_settings(UiSettings, compose_settings("port=65536"))


def test_no_store_yet(tmp_path, free_port):
    with pytest.raises(UserError, match=f"^runs_dir: no store in {tmp_path}: run bgexp run first$"):
        ui.serve_ui(settings_for(tmp_path, free_port))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "box", "0.0.0.0"])
def test_only_the_servers_own_names_are_answered(tmp_path, monkeypatch, host):
    from mlflow.server.security_utils import get_allowed_hosts_from_env, is_allowed_host_header

    environments = []

    def note(*_, env, **__):
        environments.append(env)
        raise RuntimeError

    monkeypatch.setattr(ui.subprocess, "Popen", note)
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    with (
        pytest.raises(RuntimeError),
        ui._start_server(settings_for(tmp_path, 5055, host=host), tmp_path, tmp_path / "log"),
    ):
        pass
    monkeypatch.setenv(ui.ALLOWED_HOSTS, environments[0].get(ui.ALLOWED_HOSTS, ""))
    allowed = get_allowed_hosts_from_env() or []
    own = [
        "localhost",
        "127.0.0.1:5055",
        "[::1]:5055",
        *(["box:5055"] * (host in ("box", "0.0.0.0"))),
    ]
    assert [name for name in own if not is_allowed_host_header(allowed, name)] == []
    evil = [
        "192.168.evil.com:5055",
        "10.evil.com",
        "172.16.evil.com",
        "localhost.evil.com:5055",
        "",
    ]
    evil += ["127.0.0.1.evil.com", "fc00:evil.com", "evil.com", "[::1].evil.com:80"]
    assert [name for name in evil if is_allowed_host_header(allowed, name)] == []


def test_other_names_are_answered_when_told(tmp_path, monkeypatch):
    from mlflow.server import security_utils as mlflow_security

    settings = settings_for(
        tmp_path, 5055, host="0.0.0.0", allowed_hosts=("lab.example.org", "*.lan")
    )
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    for key, value in ui._make_environment(settings).items():
        monkeypatch.setenv(key, value)
    hosts = mlflow_security.get_allowed_hosts_from_env()
    origins = mlflow_security.get_allowed_origins_from_env()
    for name in ("lab.example.org", "lab.example.org:8443", "a.lan:5055", "box:5055"):
        assert mlflow_security.is_allowed_host_header(hosts, name)
        for scheme in ("http", "https"):  # the UI's own requests, which are POSTs
            origin = f"{scheme}://{name}"
            assert not mlflow_security.should_block_cors_request(origin, "POST", origins)
    for name in ("example.org", "lab.example.org.evil.com", "a.lan.evil.com", "evil.com"):
        assert not mlflow_security.is_allowed_host_header(hosts, name)
        assert mlflow_security.should_block_cors_request(f"http://{name}", "POST", origins)


@pytest.mark.parametrize("name", ["*", "a b", "", "a.*", "http://a", "a,b", "a/b"])
def test_a_name_that_is_none(name):
    with pytest.raises(UserError, match=r"^allowed_hosts"):
        check_settings(UiSettings, compose_settings() | {"allowed_hosts": [name]})


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["http://127.0.0.1:5055"]),
        ("::1", ["http://[::1]:5055"]),
        ("0.0.0.0", ["http://127.0.0.1:5055", "http://10.9.8.7:5055"]),
        ("::", ["http://[::1]:5055", "http://10.9.8.7:5055"]),
    ],
)
def test_the_addresses_that_are_printed_work(tmp_path, monkeypatch, host, addresses):
    monkeypatch.setattr(ui, "_find_outer_address", lambda: ["10.9.8.7"])
    assert ui._list_addresses(settings_for(tmp_path, 5055, host=host)) == addresses


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("https://me:secret@example.org/x", "own user interface: open https://example.org/x$"),
        ("sqlite:////data/mlflow.db", "only the store in the runs folder"),
    ],
)
def test_another_store(tmp_path, free_port, uri, message):
    with pytest.raises(UserError, match=message):
        ui.serve_ui(settings_for(tmp_path, free_port, tracking={"uri": uri}))


def test_a_port_in_use(tmp_path):
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"^port: {port} is in use \(try port=\d+\)$"
        ) as caught:
            ui.serve_ui(settings_for(tmp_path, port))
        advice = int(str(caught.value).rpartition("=")[2][:-1])
        assert advice > port
        socket.create_server(("127.0.0.1", advice)).close()


def test_a_host_of_another_machine(tmp_path, free_port):
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(UserError, match=r"^host: cannot listen on 203\.0\.113\.1: "):
        ui.serve_ui(settings_for(tmp_path, free_port, host="203.0.113.1"))


def write_server(tmp_path, script):
    """Write a program that takes the place of Python with MLflow."""
    (tmp_path / "mlflow.db").touch()
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_a_server_that_stops_by_itself(tmp_path, monkeypatch, free_port):
    server = write_server(tmp_path, "echo; echo no such table; exit 3")
    monkeypatch.setattr(sys, "executable", str(server))
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(UserError, match=r"^the server stopped \(3\): no such table; see .*ui\.log"):
        ui.serve_ui(settings_for(tmp_path, free_port))
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_runs_folder_that_is_moved_meanwhile(tmp_path, monkeypatch, free_port):
    (runs := tmp_path / "runs").mkdir()
    server = write_server(runs, f"mv '{runs}' '{tmp_path}/archive'; sleep 60")
    monkeypatch.setattr(sys, "executable", str(server))
    with pytest.raises(UserError, match=r"^runs_dir: .*runs was moved or deleted: start bgexp ui"):
        ui.serve_ui(settings_for(runs, free_port))


SERVE = (
    "import sys; from bgexp.cli import ui; from bgexp.config.doctor import UiSettings\n"
    "runs, port, stop_s, sys.executable = sys.argv[1:]; ui.STOP_S = float(stop_s)\n"
    "sys.exit(ui.serve_ui(UiSettings(runs_dir=runs, tracking={}, port=port)))"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_it(tmp_path, free_port, number):
    stubborn = "trap '' TERM; setsid sleep 60 & sleep 60 & echo ready; while :; do wait; done"
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(free_port), "0.3"]
    with subprocess.Popen([*command, str(write_server(tmp_path, stubborn))]) as process:
        log = tmp_path / "ui.log"
        while not (log.exists() and "ready" in log.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == 0
    assert log.read_text() == "ready\n"
    assert not [p for p in psutil.process_iter() if working_folder(p) == str(tmp_path)]


def working_folder(process):
    try:
        return process.cwd()
    except psutil.Error:
        return ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload``")  # MLflow's own use of SQLAlchemy
def test_it_shows_pictures_and_stops_whole(tmp_path, free_port):
    runs = tmp_path / "runs with ü"
    run_id = log_picture(runs)
    command = [sys.executable, "-c", SERVE, str(runs), str(free_port), "10", sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        page = r"/#/experiments/1/runs\?workflowType=machine_learning&viewStateShareKey=bgexp"
        assert re.fullmatch(rf"open http://127\.0\.0\.1:{free_port}{page} \(Ctrl-C stops\)\n", line)
        family = psutil.Process(process.pid).children(recursive=True)
        assert send_request(free_port, "/health") == (200, b"OK")
        path = f"/get-artifact?path=samples/a.png&run_uuid={run_id}"
        assert send_request(free_port, path) == (200, PNG)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout.read() == ""
    assert len(family) >= 2
    assert not any(child.is_running() for child in family)
    assert [p.name for p in tmp_path.iterdir()] == [runs.name]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_opens_on_the_runs_the_best_first(two_runs, free_port):
    from mlflow import MlflowClient

    # Wide, since columns out of sight are not drawn.
    names = ["--headless", "--no-sandbox", "--window-size=2600,900"]
    names += ["--virtual-time-budget=20000", "--dump-dom"]
    command = [sys.executable, "-c", SERVE, str(two_runs), str(free_port), "10", sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        page = subprocess.run(
            ["chromium", *names, address], capture_output=True, text=True, timeout=120
        ).stdout
        process.send_signal(signal.SIGTERM)
    text = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", page, flags=re.DOTALL)
    text = " ".join(text.split())
    assert "Sort: iou.mean" in text
    assert {"boundary_iou.mean", "images_per_s", "combine.mask_threshold"} <= set(text.split())
    store = MlflowClient(f"sqlite:///{two_runs / 'mlflow.db'}")
    runs = store.search_runs(["1"], order_by=["metrics.`iou.mean` DESC"])
    places = [text.index(run.info.run_name) for run in runs if "iou.mean" in run.data.metrics]
    assert len(places) == 2
    assert places == sorted(places)


def test_a_browser_is_opened_on_a_desktop_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not ui._has_desktop()
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert ui._has_desktop()


def log_picture(runs):
    from bgexp.tracking.active_run import open_run

    common = Common(runs_dir=runs, tracking=Tracking(), seed=0, device="cpu")
    folder = runs / "one"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(PNG)
    with open_run(common, "run", "one", folder) as run:
        run.log_file(folder / "a.png", "samples")
    return run.run_id


def send_request(port, path):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    response = answer.status, answer.read()
    connection.close()
    return response
