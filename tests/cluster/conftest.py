"""The real components, each started once for all tests that ask for it; nothing stays running."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.object_store import ObjectStore
from cluster.postgres import Postgres
from cluster.slurm import Slurm
from cluster.tracking_server import DATABASE, SECRETS, TrackingServer

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


@pytest.fixture(scope="session")
def tracking_server(
    place: Path, postgres: Postgres, object_store: ObjectStore
) -> Iterator[TrackingServer]:
    """MLflow's server on PostgreSQL, artifacts in s3://bgexp/artifacts."""
    postgres.create_database(DATABASE)
    with TrackingServer(
        place / "mlflow",
        postgres.make_address(DATABASE),
        f"s3://{BUCKET}/artifacts",
        {**postgres.client_environment, **object_store.client_environment}
        | {name: make_secret() for name in SECRETS},
    ) as server:
        yield server
