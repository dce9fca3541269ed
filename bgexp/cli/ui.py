"""`bgexp ui`: MLflow's user interface on the local store, until Ctrl-C or SIGTERM."""

import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from time import monotonic, sleep
from typing import TypeAlias

import psutil

from bgexp.config.credentials import strip_credentials
from bgexp.config.doctor import UiSettings
from bgexp.errors import UserError
from bgexp.system.addresses import make_file_uri, make_sqlite_uri
from bgexp.system.signals import StopRequest, catch_stop_signals
from bgexp.tracking.moved_store import ARTIFACTS, mend_moves
from bgexp.tracking.store import DATABASE, require_store

Server: TypeAlias = "subprocess.Popen[bytes]"

START_S = 180  # seconds; MLflow takes long to import on a busy machine
STOP_S = 10  # seconds
POLL_S = 0.2  # seconds between two looks at the server
# Without the jobs and with one worker MLflow has 2 processes instead of 11.
ALLOWED_HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
ALLOWED_ORIGINS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # with this machine's own address for it
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serve_ui(settings: UiSettings) -> int:
    """Serve the user interface; return 0 once a signal stopped it with all its processes.

    Raises:
        UserError: There is no local store, the port is taken, or the server failed.
    """
    runs = settings.runs_dir.resolve()
    _check_store(settings, runs)
    _check_port(settings.host, settings.port)
    log = runs / "ui.log"
    with catch_stop_signals() as stop, _start_server(settings, runs, log) as server:
        _wait_until_up(server, stop, settings, log)
        if stop.exit_code is None:
            page = _find_first_page(settings)
            addresses = [f"{address}{page}" for address in _list_addresses(settings)]
            print(f"open {' or '.join(addresses)} (Ctrl-C stops)", flush=True)
            if settings.browser and _has_desktop():
                webbrowser.open(addresses[0])
        while stop.exit_code is None:
            _check_alive(server, log)
            sleep(POLL_S)
    return 0


def _find_first_page(settings: UiSettings) -> str:
    """Write the leaderboard and return its path; "" where the store is busy: the UI is there."""
    from bgexp.tracking.leaderboard import write_leaderboard  # MLflow's import takes seconds

    with suppress(UserError):
        return write_leaderboard(settings)
    return ""


def _has_desktop() -> bool:
    displays = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or bool(displays)


def _check_store(settings: UiSettings, runs: Path) -> None:
    uri = settings.tracking.uri
    if uri is not None and uri.startswith("http"):
        address = strip_credentials(uri)
        raise UserError(f"tracking.uri: the server has its own user interface: open {address}")
    if uri is not None:
        raise UserError("tracking.uri: only the store in the runs folder is served (leave it null)")
    require_store(settings)
    with suppress(sqlite3.Error):  # the server says what is wrong with it
        mend_moves(runs / DATABASE)


def _check_port(host: str, port: int) -> None:
    try:
        _listen(host, port)
    except PermissionError as error:
        raise UserError(f"port: {port} needs more rights (try port=5000)") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise UserError(f"host: cannot listen on {host}: {error.strerror}") from error
        free = next(p for p in range(port + 1, port + 1000) if _is_free(host, p))
        raise UserError(f"port: {port} is in use (try port={free})") from error


def _is_free(host: str, port: int) -> bool:
    with suppress(OSError, OverflowError):
        _listen(host, port)
        return True
    return False


def _listen(host: str, port: int) -> None:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen()


def _list_names(settings: UiSettings) -> list[str]:
    """List the names that a request may ask for: this machine's, and those that are told.

    By itself MLflow takes every name that begins like a private address, such as 192.168.evil.com,
    whose owner can point it here: pages of that name then read the store (DNS rebinding).
    """
    names = {"localhost", "127.0.0.1", "::1", settings.host, *settings.allowed_hosts}
    if settings.host in EVERYWHERE:
        names |= {socket.gethostname(), socket.getfqdn()}
        cards = psutil.net_if_addrs().values()
        names |= {entry.address.partition("%")[0] for card in cards for entry in card}
    return [f"[{name}]" if ":" in name else name for name in sorted(names)]


def _make_environment(settings: UiSettings) -> dict[str, str]:
    """Return what MLflow's server is told by variables, patterns with `*` among it."""
    names = _list_names(settings)
    patterns = [*names, *(f"{name.replace('[', '[[]')}:*" for name in names)]
    # A page's own address is another origin to MLflow, unless it is localhost.
    origins = [f"{scheme}://{pattern}" for scheme in ("http", "https") for pattern in patterns]
    lists = {ALLOWED_HOSTS: patterns, ALLOWED_ORIGINS: origins}
    set_before = {key: [os.environ[key]] for key in lists if os.environ.get(key)}
    return ENVIRONMENT | {k: ",".join([*v, *set_before.get(k, [])]) for k, v in lists.items()}


@contextmanager
def _start_server(settings: UiSettings, runs: Path, log: Path) -> Iterator[Server]:
    """Yield the server in a process group of its own, which is gone afterwards."""
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", make_sqlite_uri(runs / DATABASE)]
    # The server reads the artifacts of local runs itself and needs no store for uploads.
    command += ["--default-artifact-root", make_file_uri(runs / ARTIFACTS), "--no-serve-artifacts"]
    command += ["--host", settings.host, "--port", str(settings.port)]
    log.unlink(missing_ok=True)  # a link there is not written through
    with log.open("xb") as output:
        server = subprocess.Popen(
            command,
            cwd=runs,
            env={**os.environ, **_make_environment(settings)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield server
    finally:
        _stop_server(server)


def _stop_server(server: Server) -> None:
    # A child may have left the group, hence both ways.
    family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S)
        _, family = psutil.wait_procs(family, STOP_S)
        if server.returncode is not None and not family:
            return
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _wait_until_up(server: Server, stop: StopRequest, settings: UiSettings, log: Path) -> None:
    end = monotonic() + START_S
    while stop.exit_code is None and not _is_up(settings):
        _check_alive(server, log)
        sleep(POLL_S)
        if monotonic() > end:
            raise UserError(f"the server did not answer within {START_S} s: see {log}")


def _is_up(settings: UiSettings) -> bool:
    # Not by urllib, which would ask a proxy.
    host = EVERYWHERE.get(settings.host, settings.host)
    connection = HTTPConnection(host, settings.port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _check_alive(server: Server, log: Path) -> None:
    if server.poll() is not None:
        lines = log.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        raise UserError(f"the server stopped ({server.returncode}): {last[:200]}; see {log}")
    if not (log.parent / DATABASE).exists():
        raise UserError(f"runs_dir: {log.parent} was moved or deleted: start bgexp ui again there")


def _list_addresses(settings: UiSettings) -> list[str]:
    """List addresses to type into a browser: 0.0.0.0 is none, so here's and other machines'."""
    hosts = [EVERYWHERE.get(settings.host, settings.host)]
    if settings.host in EVERYWHERE:
        hosts += _find_outer_address()
    brackets = [f"[{host}]" if ":" in host else host for host in hosts]
    return [f"http://{host}:{settings.port}" for host in brackets]


def _find_outer_address() -> list[str]:
    """Find this machine's address towards others, if it has one."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks for the way
        return [str(probe.getsockname()[0])]
    return []
