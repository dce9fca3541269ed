"""A server of this machine: started and waited for, stopped or killed, started again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import NoReturn, Protocol, Self

import psutil

START_S = 300  # until a server answers; MLflow takes 20 on an idle machine, minutes on a busy one
STOP_S = 15  # until a server that was asked to end is killed
LOOPBACK = "127.0.0.1"
SHORTEST_SECRET = 8  # characters
WELL_KNOWN = {"password", "password1234", "changeme", "postgres", "minioadmin", "bgexp", "mlflow"}


class SetupError(Exception):
    """Something that a component needs is missing; the message says what to do about it."""


class Service(ABC):
    """A server on loopback, at a port of its own; its folder outlives its process.

    A context manager: inside it the server runs, after it nothing is left running. If the process
    that started it dies, however that happens, the server ends as well.

    Attributes:
        folder: The folder of its data and of its log, `log.txt`.
        port: The port, the same after each start.
        user: The user that it runs as where root starts it; None: the same.
    """

    user: str | None = None

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder, self.port = folder.resolve(), port or find_free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def make_command(self) -> Sequence[str]:
        """Return the command that runs the server in the foreground, without any secret."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether the server answers."""

    def make_environment(self) -> Mapping[str, str]:
        """Return what its environment has beside that of this process."""
        return {}

    def prepare(self) -> None:  # noqa: B027
        """Make what the server needs once, before its first start; by default nothing."""

    def start(self) -> None:
        """Start the server, and return when it answers.

        Raises:
            SetupError: It is not installed, its port is taken, or it does not come up.
        """
        if answers(self.port):
            raise SetupError(f"port {self.port} of {LOOPBACK} is taken")
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.give_away(self.folder)
            self.prepare()
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                self.wrap(self.make_command()),
                env={**os.environ, **self.make_environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )
        end = monotonic() + START_S
        while not self.is_ready():
            if self._process.poll() is not None or monotonic() > end:
                self.kill()
                last = (self.folder / "log.txt").read_text(errors="replace")[-2000:]
                raise SetupError(f"{type(self).__name__} does not start:\n{last}")
            sleep(0.1)

    def stop(self) -> None:
        """Ask the server to end, and kill what is left of it."""
        if self._process is not None:
            processes = self._list_processes()
            self._process.terminate()
            psutil.wait_procs(processes, timeout=STOP_S)
            self._kill(processes)

    def kill(self) -> None:
        """Kill the server and the processes below it, as a power cut would."""
        if self._process is not None:
            self._kill(self._list_processes())

    def is_alive(self) -> bool:
        """Return whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def restart(self) -> None:
        """Kill the server and start it again."""
        self.kill()
        self.start()

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs as the server's user and ends with this process."""
        drop = []
        if self.user is not None and os.geteuid() == 0:
            drop = ["--reuid", self.user, "--regid", self.user, "--init-groups"]
        return ["setpriv", "--pdeathsig", "TERM", *drop, "--", *command]

    def give_away(self, path: Path) -> None:
        """Give a file or folder to the server's user."""
        if self.user is not None and os.geteuid() == 0:
            try:
                pwd.getpwnam(self.user)
            except KeyError as error:
                raise SetupError(f"no user {self.user} here (make cluster-setup)") from error
            shutil.chown(path, self.user, self.user)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _list_processes(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            server = psutil.Process(self._process.pid)
            return [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _kill(self, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            if process.is_running():
                process.kill()
        psutil.wait_procs(processes, timeout=STOP_S)
        if self._process is not None:
            self._process.wait()
            self._process = None


def find_free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens at a port of loopback."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def find_program(name: str, *folders: Path) -> str:
    """Return the path of a program, in one of these folders or on the path.

    Raises:
        SetupError: It is not installed.
    """
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise SetupError(f"{name} is not installed (make cluster-setup)")
    return found


def read_secret(name: str) -> str:
    """Return a secret from the environment, the only place for it.

    Raises:
        SetupError: It is not set, or anyone could guess it.
    """
    secret = os.environ.get(name, "")
    if len(secret) < SHORTEST_SECRET or secret.lower() in WELL_KNOWN:
        why = "not set" if not secret else "too short, or one that everybody knows"
        raise SetupError(f"{name} is {why} (at least {SHORTEST_SECRET} characters of your own)")
    return secret


class Running(Protocol):
    """A component that runs inside its context, and may end by itself."""

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...


def run_until_signal(component: Running, lines: Sequence[str]) -> NoReturn:
    """Run a component until Ctrl-C or SIGTERM, and say how to use it."""

    def stop(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with component:
            print("\n".join([*lines, "Ctrl-C stops it."]), flush=True)
            while component.is_alive():
                sleep(1)
    except SetupError as error:
        sys.exit(str(error))
    sys.exit("it ended by itself")
