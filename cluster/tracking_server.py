"""A team's tracking server: MLflow on PostgreSQL, with users, behind which artifacts are kept.

`python -m cluster.tracking_server FOLDER [PORT]`; docs/team.md tells which variables it reads.
"""

import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.error import URLError

from cluster.postgres import Postgres
from cluster.service import LOOPBACK, Service, SetupError, read_secret, run_until_signal

DATABASE = "mlflow"
ADMIN = "admin"
# The password of the user `admin`, and what signs the forms and sessions of its pages.
SECRETS = ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")
LOGIN_S = (
    60  # that a login counts: hashing the password anew for each request takes most of its time
)


class TrackingServer(Service):
    """An MLflow server with basic authentication; clients reach artifacts through it alone.

    Args:
        folder: The folder of its configuration and its log.
        database: The address of its database, without user and password.
        artifacts: Where it keeps artifacts: a folder or an address such as s3://BUCKET/FOLDER.
        environment: Users, passwords and keys for the database and the artifacts, and those of
            `SECRETS`.
        host: The address it binds to.

    Attributes:
        workers: The number of processes that answer.
    """

    workers = 2

    def __init__(
        self,
        folder: Path,
        database: str,
        artifacts: str,
        environment: Mapping[str, str],
        port: int | None = None,
        host: str = LOOPBACK,
    ) -> None:
        super().__init__(folder, port)
        self._database, self._artifacts, self._host = database, artifacts, host
        self._environment = environment
        self.address = f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration of its users: where they are kept, and what a new one may do."""
        (self.folder / "users.ini").write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {self._database}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            f"auth_cache_ttl_seconds = {LOGIN_S}\n"
        )

    def make_command(self) -> Sequence[str]:
        """Return the command."""
        where = ["--host", self._host, "--port", str(self.port), "--workers", str(self.workers)]
        return [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", *where]

    def make_environment(self) -> Mapping[str, str]:
        """Return all that it is told, so that the process list holds none of it."""
        return {
            "MLFLOW_BACKEND_STORE_URI": self._database,
            "MLFLOW_ARTIFACTS_DESTINATION": self._artifacts,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder / "users.ini"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
            **self._environment,
        }

    def is_ready(self) -> bool:
        """Return whether it says that it is well."""
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


class Team:
    """A tracking server, with a PostgreSQL of its own where the environment names none."""

    def __init__(self, folder: Path, port: int) -> None:
        password = read_secret("PGPASSWORD")
        secrets = {name: read_secret(name) for name in SECRETS}
        address = os.environ.get("MLFLOW_BACKEND_STORE_URI")
        self.database = None if address else Postgres(folder / "postgres", password)
        if self.database is not None:
            address = self.database.make_address(DATABASE)
            secrets |= self.database.client_environment
        artifacts = os.environ.get("MLFLOW_ARTIFACTS_DESTINATION") or folder.resolve() / "artifacts"
        self.server = TrackingServer(
            folder / "mlflow",
            str(address),
            str(artifacts),
            secrets,
            port,
            os.environ.get("MLFLOW_HOST", LOOPBACK),
        )
        self._stack = ExitStack()

    def is_alive(self) -> bool:
        """Return whether all of it runs."""
        return self.server.is_alive() and (self.database is None or self.database.is_alive())

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.database is not None:
                stack.enter_context(self.database)
                self.database.create_database(DATABASE)
            stack.enter_context(self.server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


if __name__ == "__main__":
    folder, *rest = sys.argv[1:]
    try:
        team = Team(Path(folder), int(rest[0]) if rest else 5000)
    except SetupError as error:
        sys.exit(str(error))
    run_until_signal(team, [f"tracking.uri={team.server.address}"])
