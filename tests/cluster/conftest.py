"""The real components, each started once for all tests that ask for it; nothing stays running."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.object_store import ObjectStore
from cluster.postgres import Postgres
from cluster.slurm import Slurm
from cluster.tracking_server import ADMIN, SECRETS, TrackingServer

BUCKET = "bgexp"


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's own user can enter, as it cannot pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="bgexp-cluster-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def make_secret() -> str:
    """A password with the characters that addresses, shells and XML stumble over."""
    return f"{secrets.token_hex(8)}/+&@ {secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def postgres(place: Path) -> Iterator[Postgres]:
    with Postgres(place / "postgres", make_secret()) as server:
        yield server


@pytest.fixture(scope="session")
def object_store(place: Path) -> Iterator[ObjectStore]:
    """Serves s3://bgexp to a user who may write and to one who may only read."""
    writer, reader = ("writer-key", make_secret()), ("reader-key", make_secret())
    with ObjectStore(place / "objects", writer, reader, [BUCKET]) as store:
        yield store


@pytest.fixture(scope="session")
def slurm(place: Path) -> Iterator[Slurm]:
    """One node with two cores."""
    with Slurm(place / "slurm", cpus=2) as cluster:
        yield cluster


@dataclass(frozen=True)
class Team:
    """A tracking server with what is behind it, and its users.

    Attributes:
        server, postgres, objects: To be killed and started again.
        database: The name of its database in PostgreSQL.
        passwords: By user: `admin`; `member`, who may make experiments; `reader`, who may not log
            into those of others.
        secrets: All passwords and keys, which nothing may show.
        started: The commands that were started.
    """

    server: TrackingServer
    postgres: Postgres
    objects: ObjectStore
    database: str
    passwords: Mapping[str, str]
    secrets: frozenset[str]
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def login(self, user: str) -> dict[str, str]:
        """What a user's environment holds."""
        names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        return dict(zip(names, (user, self.passwords[user]), strict=True))

    def start_bgexp(self, *words: object, tries: int = 8) -> "subprocess.Popen[str]":
        """Start a command of bgexp as the user `member`.

        Eight tries take six minutes, for a machine on which a server takes minutes to start again.
        """
        environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(tries), **self.login("member")}
        process = subprocess.Popen(
            [sys.executable, "-m", "bgexp.cli.main", *map(str, words), self.address],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    @property
    def address(self) -> str:
        """The setting that names the server."""
        return f"tracking.uri={self.server.address}"


@pytest.fixture(scope="module")
def team(
    request: pytest.FixtureRequest, place: Path, postgres: Postgres, object_store: ObjectStore
) -> Iterator[Team]:
    """MLflow's server on PostgreSQL, artifacts in s3://bgexp/artifacts, three users.

    Each module's is its own: it counts what is there.
    """
    name = request.module.__name__.rpartition(".")[2]
    postgres.create_database(name)
    behind = {**postgres.client_environment, **object_store.client_environment}
    own = {name: make_secret() for name in SECRETS}
    passwords = {user: make_secret() for user in ("member", "reader")}
    server = TrackingServer(
        place / name,
        postgres.make_address(name),
        f"s3://{BUCKET}/artifacts",
        behind | own,
    )
    server.workers = 1  # each takes seconds of a core to start
    with server:
        passwords[ADMIN] = own["MLFLOW_AUTH_ADMIN_PASSWORD"]
        hidden = {*passwords.values(), *own.values()}
        hidden |= {behind["PGPASSWORD"], behind["AWS_SECRET_ACCESS_KEY"]}
        team = Team(server, postgres, object_store, name, passwords, frozenset(hidden))
        create_users(team, "member", "reader")
        yield team
        for process in team.started:  # of tests that failed
            process.kill()
            process.wait()


def create_users(team: Team, *users: str) -> None:
    import requests

    for user in users:
        answer = requests.post(
            f"{team.server.address}/api/2.0/mlflow/users/create",
            json={"username": user, "password": team.passwords[user]},
            auth=(ADMIN, team.passwords[ADMIN]),
            timeout=60,
        )
        answer.raise_for_status()


@pytest.fixture
def log_in(team: Team, monkeypatch: pytest.MonkeyPatch):
    """Makes a user of the server this process's."""

    def log_in(user: str, password: str | None = None) -> None:
        for name, value in team.login(user).items():
            monkeypatch.setenv(name, value)
        if password is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    return log_in
