"""bgexp against a team's server: all commands, each server killed in the middle, who may not."""

import os
import re
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest

from bgexp.tracking.run_folder import RunFolder
from cluster.service import answers, find_free_port
from cluster.tracking_server import SECRETS
from tests.cluster.commands import finish, list_secrets_shown, wait_until

pytestmark = pytest.mark.cluster
AWAY_S = 3  # that a killed server stays away
COMMANDS = {
    "run": ["run", "refine=none"],
    "sweep": ["run", "-m", "refine=none,guided"],
    "compare": ["compare"],
    "promote": ["promote"],
    "review": ["review"],
    "select": ["select"],
    "batch": ["batch", "model=champion"],
}


def interrupt(service):
    """Kill a server and start it again."""
    service.kill()
    sleep(AWAY_S)
    service.start()


def find_runs(team, log_in, query=""):
    from mlflow import MlflowClient

    log_in("admin")
    client = MlflowClient(team.server.address)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return client, list(client.search_runs(experiments, query))


def count_logged(team, run_id):
    """How often each metric of a run stands in the database."""
    import psycopg

    client = team.postgres.client_environment
    login = {"user": client["PGUSER"], "password": client["PGPASSWORD"]}
    query = "SELECT key, count(*) FROM metrics WHERE run_uuid = %s GROUP BY key"
    with psycopg.connect(team.postgres.make_address(team.database), **login) as connection:
        counts = dict(connection.execute(query, [run_id]).fetchall())
    return {key: count for key, count in counts.items() if not key.startswith("system/")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("team") / "runs"


@pytest.fixture(scope="module")
def sweep(team, runs, fast):
    """A sweep of four jobs, in which each of the three servers was killed once while it logged."""
    settings = [word for word in fast if not word.startswith("dataset.subset")]
    process = team.start_bgexp(
        *("run", "-m", "combine.mask_threshold=0.4,0.5,0.6,0.7", "dataset.subset=4"),
        *(*settings, f"runs_dir={runs}"),
    )
    for job, service in enumerate((team.server, team.postgres, team.objects)):
        wait_until(lambda job=job: list(runs.glob(f"sweep/*/{job}/summary.json")), process)
        assert list_secrets_shown(team) == []
        interrupt(service)
    code, output = finish(process)
    assert code == 0, output
    assert "Traceback" not in output
    [folder] = (runs / "sweep").iterdir()
    return folder


def test_a_sweep_with_each_server_killed_once_is_whole(team, sweep, log_in):
    client, all_runs = find_runs(team, log_in)
    assert {run.info.status for run in all_runs} == {"FINISHED"}
    parents = [run for run in all_runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.data.tags["bgexp.jobs"] for run in parents] == ["4"]
    jobs = {run.info.run_id: run for run in all_runs if run not in parents}
    assert len(jobs) == 4
    for number in range(4):
        folder = RunFolder(sweep / str(number))
        summary = folder.read_summary()
        job = jobs[summary["run_id"]]
        assert job.data.metrics["iou.mean"] == pytest.approx(summary["metrics"]["iou"]["mean"])
        logged = count_logged(team, job.info.run_id)
        assert set(logged) == {key for key in job.data.metrics if not key.startswith("system/")}
        assert set(logged.values()) == {1}
        artifacts = Path(client.download_artifacts(job.info.run_id, ""))
        for file in (path for path in folder.path.rglob("*") if path.is_file()):
            if file.name not in ("log.txt", "overrides.json"):
                copy = artifacts / file.relative_to(folder.path)
                assert copy.read_bytes() == file.read_bytes(), file.name


def test_no_secret_is_shown(team, sweep, place):
    assert sweep.exists()
    # Slurm keeps the environment of its jobs, from where they have the password.
    folders = [folder for folder in place.iterdir() if folder.name != "slurm"]
    assert list_secrets_shown(team, sweep.parents[1], *folders) == []


@pytest.fixture(scope="module")
def champion(team, sweep, runs, run_cli):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in team.login("member").items():
            patch.setenv(name, value)
        best = RunFolder(sweep / "0").read_summary()["run_id"]
        assert run_cli("promote", f"run={best}", f"runs_dir={runs}", team.address) == 0
    return best


def test_compare_on_another_machine(team, sweep, tmp_path, bgexp_cli, log_in):
    log_in("reader")
    away = sweep.rename(sweep.with_name("away"))  # so that the server alone has the files
    try:
        code, output, errors = bgexp_cli("compare", f"runs_dir={tmp_path / 'runs'}", team.address)
    finally:
        away.rename(sweep)
    assert code == 0, errors
    assert output.count("mask_threshold=0.") >= 4


@pytest.mark.usefixtures("champion")
def test_a_batch_s_record_is_delivered_once(team, runs, tmp_path, photographs, log_in):
    words = ["batch", "model=champion", f"input={photographs}", f"output={tmp_path / 'out'}"]
    process = team.start_bgexp(*words, f"runs_dir={runs}")
    wait_until(lambda: list((runs / "outbox").glob("*.json")), process)
    interrupt(team.server)  # while it is sent
    code, output = finish(process)
    assert code == 0, output
    code, output = finish(team.start_bgexp(*words, f"runs_dir={runs}"))
    assert code == 0, output
    assert not list((runs / "outbox").glob("*.json"))
    _, batches = find_runs(team, log_in, "tags.`bgexp.command` = 'batch'")
    assert [run.info.status for run in batches] == ["FINISHED"] * 2
    assert len({run.data.tags["bgexp.post"] for run in batches}) == 2
    assert {run.data.metrics["counts.done"] for run in batches} == {24.0}
    assert list_secrets_shown(team, runs, tmp_path / "out") == []


# -- one line --------------------------------------------------------------------------------


def refuse(bgexp_cli, team, tmp_path, command, *words):
    """Run a command that the server does not let in; return the one line."""
    places = [f"runs_dir={tmp_path / 'runs'}"]
    if command == "batch":
        places += [f"input={tmp_path}", f"output={tmp_path / 'out'}"]
    code, _, errors = bgexp_cli(*COMMANDS[command], *places, *words)
    lines = [line for line in errors.splitlines() if line.startswith("bgexp: ")]
    assert (code, len(lines)) == (2, 1), errors
    assert "Traceback" not in errors
    assert not any(secret in errors for secret in team.secrets)
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_password(team, tmp_path, bgexp_cli, log_in, command):
    log_in("member", "not-the-password")
    line = refuse(bgexp_cli, team, tmp_path, command, team.address)
    assert line.endswith(
        "it does not know this user with this password (MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD)"
    )


def test_no_password(team, tmp_path, bgexp_cli, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    line = refuse(bgexp_cli, team, tmp_path, "compare", team.address)
    assert "it asks for a user and a password" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_is_away(team, tmp_path, bgexp_cli, monkeypatch, command):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    line = refuse(bgexp_cli, team, tmp_path, command, "tracking.uri=http://127.0.0.1:9")
    assert line.endswith("http://127.0.0.1:9: no server answers there (Connection refused)")


@pytest.mark.usefixtures("sweep")
@pytest.mark.parametrize("command", ["sweep", "promote", "review"])
def test_no_right(team, tmp_path, bgexp_cli, log_in, fast, command):
    log_in("reader")
    # Of a name without a champion: no other gate refuses before.
    words = {"sweep": fast[:3], "promote": ["name=other"]}.get(command, [])
    line = refuse(bgexp_cli, team, tmp_path, command, team.address, *words)
    assert "the user reader has no right to do this" in line


def test_a_server_that_stays_away_in_the_middle_of_a_sweep(team, tmp_path, fast):
    """Told in a line; what was computed is kept. The tries are those of a user in a hurry."""
    runs = tmp_path / "runs"
    process = team.start_bgexp(
        *("run", "-m", "combine.mask_threshold=0.4,0.5", *fast, f"runs_dir={runs}", "seed=5"),
        tries=2,
    )
    wait_until(lambda: list(runs.glob("sweep/*/0/summary.json")), process)
    team.server.kill()
    try:
        code, output = finish(process)
    finally:
        team.server.start()
    assert code == 2, output
    assert "Traceback" not in output
    assert re.search(r"^bgexp: tracking.uri: .*no server answers there", output, re.MULTILINE)
    [folder] = (runs / "sweep").iterdir()
    assert (folder / "report.html").exists()
    summary = RunFolder(folder / "0").read_summary()
    assert summary["counts"]["ok"] == 2


# -- the script ------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "short", "password1234"])
def test_the_script_refuses_passwords_that_anyone_could_guess(tmp_path, password):
    done = subprocess.run(
        [sys.executable, "-m", "cluster.tracking_server", str(tmp_path / "team")],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"PGPASSWORD is .*\n", done.stderr)
    assert not (tmp_path / "team").exists()


def test_the_script_starts_and_stops_all_of_it(place, team):
    """A server with a database and a folder of its own; what it was told is in no file."""
    port = find_free_port()
    names = ("PGPASSWORD", *SECRETS)
    told = dict(zip(names, sorted(team.secrets), strict=False))
    with subprocess.Popen(
        [sys.executable, "-m", "cluster.tracking_server", str(place / "script"), str(port)],
        env={**os.environ, **told},
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout.readline() == f"tracking.uri=http://127.0.0.1:{port}\n"
        assert answers(port)
        script.terminate()
    assert script.returncode == 143
    assert not answers(port)
    assert list_secrets_shown(team, place / "script") == []
