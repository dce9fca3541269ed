"""Files of runs: those elsewhere are copied for a while; one line where they cannot be fetched."""

import os
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from bgexp.config.base import TrackedSettings, Tracking
from bgexp.errors import UserError
from bgexp.tracking.store import open_store
from bgexp.tracking.stored_files import fetch_files
from cluster.service import Service, answers

pytestmark = pytest.mark.slow

FETCH = """
import sys
from mlflow import MlflowClient
from bgexp.tracking.stored_files import fetch_files

address, run_id = sys.argv[1:]
for _ in range(2):
    place = fetch_files(MlflowClient(address), run_id)
    print(place, (place / "a/b.txt").read_text())
"""


class ArtifactServer(Service):
    """MLflow's server, which hands on the files of its runs."""

    def make_command(self):
        store, objects = f"sqlite:///{self.folder}/store.db", str(self.folder / "objects")
        options = ["--backend-store-uri", store, "--artifacts-destination", objects]
        return [sys.executable, "-m", "mlflow", "server", *options, f"--port={self.port}"]

    def is_ready(self):
        return answers(self.port)


@pytest.fixture
def run(tmp_path):
    """A client of a local store, and a run with a file."""
    client, experiment = open_store(TrackedSettings(runs_dir=tmp_path, tracking=Tracking()))
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "text", "a/b.txt")
    return client, run.info.run_id


def test_those_of_a_local_store_stay_where_they_are(run, tmp_path):
    client, run_id = run
    assert fetch_files(client, run_id) == tmp_path / "artifacts" / run_id / "artifacts"
    assert fetch_files(client, run_id, "a/b.txt").read_text() == "text"
    with pytest.raises(UserError, match=rf"^run {run_id}: its files cannot be fetched \(.*c.txt"):
        fetch_files(client, run_id, "a/c.txt")


def test_those_of_a_server_are_gone_when_the_program_ends(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    with ArtifactServer(tmp_path / "server") as server:
        address = f"http://127.0.0.1:{server.port}"
        client = MlflowClient(address)
        run_id = client.create_run("0").info.run_id
        client.log_text(run_id, "text", "a/b.txt")
        lines = subprocess.run(
            [sys.executable, "-c", FETCH, address, run_id],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
            check=True,
        ).stdout.splitlines()
    place, text = lines[0].split()
    assert (lines[0], text) == (lines[1], "text")
    assert place.startswith(f"{folder}/bgexp-")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://nobucket/a", "Unable to locate credentials"),
        ("gs://nobucket/a", r"it needs a driver .*pip install 'google-cloud-storage'\)"),
        ("http://127.0.0.1:9/a", "not enough values to unpack .*"),
        ("ftp://127.0.0.1:9/a", r"\[Errno 111\] Connection refused"),
        ("nosuch://a", "Could not find a registered artifact repository for: nosuch://a.*"),
        ("file:///nosuch", "No such artifact: .*"),
    ],
)
def test_a_place_that_cannot_be_read_is_one_line(run, monkeypatch, address, reason):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client, _ = run
    run_id = client.create_run(client.create_experiment("elsewhere", address)).info.run_id
    with pytest.raises(
        UserError, match=rf"^run {run_id}: its files cannot be fetched \({reason}\)$"
    ):
        fetch_files(client, run_id)
