"""PostgreSQL with a password: `PGPASSWORD=… python -m cluster.postgres FOLDER [PORT]`."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.service import LOOPBACK, Service, find_program, read_secret, run_until_signal

USER = "postgres"


class Postgres(Service):
    """A PostgreSQL server whose superuser `postgres` has this password."""

    user = USER  # it refuses to run as root

    def __init__(self, folder: Path, password: str, port: int | None = None) -> None:
        super().__init__(folder, port)
        self._password = password

    @property
    def client_environment(self) -> dict[str, str]:
        """What a client's environment needs; addresses hold no user and no password then."""
        return {"PGUSER": USER, "PGPASSWORD": self._password}

    def make_address(self, database: str) -> str:
        """Return the address of a database, without user and password."""
        return f"postgresql://{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Create a database, unless it is there."""
        call = [_find("psql"), "-h", LOOPBACK, "-p", str(self.port), "-d", USER, "-At"]
        environment = {**os.environ, **self.client_environment}

        def query(sql: str) -> str:
            return subprocess.run(
                [*call, "-c", sql], env=environment, check=True, capture_output=True, text=True
            ).stdout

        if not query(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            query(f'CREATE DATABASE "{name}"')

    def prepare(self) -> None:
        """Make the cluster of databases; the password passes through a file that is deleted."""
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        self.give_away(secret)
        options = ["-U", USER, "--auth", "scram-sha-256", "--pwfile", str(secret), "--no-sync"]
        try:
            subprocess.run(
                self.wrap([_find("initdb"), "-D", str(self.folder / "data"), *options]),
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=self.folder,
            )
        finally:
            secret.unlink()

    def make_command(self) -> Sequence[str]:
        """Return the command; sockets of files are not used."""
        where = ["-h", LOOPBACK, "-p", str(self.port), "-c", "unix_socket_directories="]
        return [_find("postgres"), "-D", str(self.folder / "data"), *where]

    def make_environment(self) -> Mapping[str, str]:
        """Return an environment in which it stays its own session's leader."""
        return {"LC_ALL": "C.UTF-8"}

    def is_ready(self) -> bool:
        """Return whether it accepts connections."""
        call = [_find("pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)]
        return subprocess.run(call, check=False).returncode == 0


def _find(program: str) -> str:
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    return find_program(program, *newest)


if __name__ == "__main__":
    folder, *port = sys.argv[1:]
    server = Postgres(Path(folder), read_secret("PGPASSWORD"), *map(int, port))
    run_until_signal(server, [f"PGUSER={USER}, PGPASSWORD, {server.make_address(USER)}"])
