"""Files of runs: those elsewhere are copied for a while; one line where they cannot be fetched."""

import errno
import os
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from bgexp.config.base import TrackedSettings, Tracking
from bgexp.errors import UserError
from bgexp.tracking.store import open_store
from bgexp.tracking.stored_files import fetch_files, fetch_run
from cluster.service import Service, answers, find_free_port

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


def test_those_of_a_server(tmp_path):
    """A run's are copied into the runs folder once; other ones are there until the program ends."""
    folder, runs = tmp_path / "temporary", tmp_path / "runs"
    folder.mkdir()
    with ArtifactServer(tmp_path / "server") as server:
        client = MlflowClient(f"http://127.0.0.1:{server.port}")
        run_id = client.create_run("0").info.run_id
        client.log_text(run_id, "text", "a/b.txt")
        client.set_terminated(run_id)
        run = client.get_run(run_id)
        fetched = fetch_run(client, run, runs)
        lines = subprocess.run(
            [sys.executable, "-c", FETCH, client.tracking_uri, run_id],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
            check=True,
        ).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["text", "text"]
    assert all(line.startswith(f"{folder}/bgexp-") for line in lines)
    assert list(folder.iterdir()) == []
    assert (fetched / "a/b.txt").read_text() == "text"
    assert fetch_run(client, run, runs) == fetched  # though the server is gone
    assert list((runs / "fetched").iterdir()) == [fetched]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("s3://nobucket/a", "Unable to locate credentials"),
        ("gs://nobucket/a", r"it needs a driver .*pip install 'google-cloud-storage'\)"),
        ("http://127.0.0.1:9/a", "ValueError: not enough values .*"),
        ("ftp://127.0.0.1:{port}/a", ".*Connection refused"),
        ("nosuch://a", "Could not find a registered artifact repository for: nosuch://a.*"),
        ("file:///nosuch", "No such artifact: .*"),
    ],
)
def test_a_place_that_cannot_be_read_is_one_line(run, monkeypatch, tmp_path, address, reason):
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_S3_"))]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    client, _ = run
    experiment = client.create_experiment("elsewhere", address.format(port=find_free_port()))
    run_id = client.create_run(experiment).info.run_id
    message = rf"^run {run_id}: its files cannot be fetched \({reason}\)$"
    for fetch in (
        lambda: fetch_files(client, run_id),
        lambda: fetch_run(client, client.get_run(run_id), tmp_path / "runs"),
    ):
        with pytest.raises(UserError, match=message):
            fetch()
    assert not list(tmp_path.glob("runs/fetched/*"))


def test_a_full_disk_of_this_machine_is_no_mistake_of_the_user(run, monkeypatch):
    monkeypatch.setattr(MlflowClient, "download_artifacts", raise_full_disk)
    with pytest.raises(OSError, match="No space left"):
        fetch_files(*run)


def raise_full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
