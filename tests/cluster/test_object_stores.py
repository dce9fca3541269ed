"""Batches and sweeps on an object store: each part of a team's servers killed in the middle."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import pandas as pd
import pytest

from bgexp.batch.manifest import read_manifest
from bgexp.system.hashing import hash_bytes
from bgexp.system.stores import Address, forget_stores, read_object, walk_objects, write_object
from tests.batch.conftest import manifest, tree
from tests.cluster.commands import finish, list_secrets_shown, wait_until
from tests.cluster.conftest import BUCKET
from tests.cluster.test_tracking import count_logged, find_runs, interrupt

pytestmark = pytest.mark.cluster
SAMPLE = Path(__file__).parents[2] / "bgexp/sample"
MEASURED = ["timings_ms", "memory", "settings_hash"]
QUICK = ["device=cpu", "detector.image_size=256", "refine=none"]
COPIES = 3


@pytest.fixture
def stored(object_store, tmp_path, monkeypatch):
    """An address with the sample, its masks and some copies of its images."""
    for name, value in object_store.client_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget_stores()
    base = Address(f"s3://{BUCKET}/{tmp_path.name}")
    for file in sorted(path for path in SAMPLE.rglob("*") if path.is_file()):
        name = file.relative_to(SAMPLE).as_posix()
        write_object(base / "set" / name, file.read_bytes())
        for number in range(COPIES if name.startswith("images/") else 0):
            write_object(base / f"in/{number}" / name, file.read_bytes())
    yield base
    forget_stores()


@pytest.fixture
def expected(tmp_path):
    """Return results and rows of the same batch on files."""
    for number in range(COPIES):
        shutil.copytree(SAMPLE / "images", tmp_path / f"in/{number}/images")
    words = [f"input={tmp_path / 'in'}", f"output={tmp_path / 'local'}", *QUICK]
    command = [sys.executable, "-m", "bgexp.cli.main", "batch", *words]
    subprocess.run([*command, f"runs_dir={tmp_path / 'local-runs'}"], check=True)
    return tree(tmp_path / "local"), manifest(tmp_path / "local").drop(columns=MEASURED)


def read_results(output):
    found = [entry.key.removeprefix(f"{output.key}/") for entry in walk_objects(output)]
    return {name: read_object(output / name)[0] for name in found if name.startswith("regular/")}


def count_results(output):
    return sum(1 for _ in walk_objects(output / "regular"))


def assert_same(output, expected):
    results = {name: data for name, data in expected[0].items() if name.startswith("regular/")}
    assert {name: hash_bytes(data) for name, data in read_results(output).items()} == results
    rows = read_manifest(output).set_index("path").drop(columns=MEASURED)
    pd.testing.assert_frame_equal(rows, expected[1])


def test_a_batch_with_each_server_killed_once(team, stored, tmp_path, expected, log_in):
    output, runs = stored / "out", tmp_path / "runs"
    words = ["batch", f"input={stored / 'in'}", f"output={output}", f"runs_dir={runs}", *QUICK]
    process = team.start_bgexp(*words)
    for wanted, service in ((10, team.objects), (30, team.postgres), (50, team.server)):
        wait_until(lambda wanted=wanted: count_results(output) >= wanted, process)
        assert list_secrets_shown(team, tmp_path) == []
        interrupt(service)
    code, text = finish(process)
    assert code == 0, text
    assert "Traceback" not in text
    assert_same(output, expected)
    if not json.loads(read_object(output / "summary.json")[0])["run_id"]:  # kept, and sent now
        code, text = finish(team.start_bgexp(*words))
        assert code == 0, text
    _, batches = find_runs(team, log_in, f"tags.`bgexp.folder` = '{output}'")
    assert {run.info.status for run in batches} == {"FINISHED"}
    assert len({run.data.tags["bgexp.post"] for run in batches}) == len(batches)
    for run in batches:
        assert set(count_logged(team, run.info.run_id).values()) == {1}
    assert list_secrets_shown(team, tmp_path) == []
    shown = [key for key, data in read_results(stored).items() if any_secret(team, data)]
    assert shown == []
    for name in ("summary.json", "report.html", "manifest.csv", ".bgexp/plan.jsonl"):
        assert not any_secret(team, read_object(output / name)[0])


def any_secret(team, data):
    return any(secret.encode() in data for secret in team.secrets)


def test_a_sweep_over_a_stored_dataset_with_each_server_killed_once(team, stored, tmp_path, log_in):
    runs = tmp_path / "runs"
    process = team.start_bgexp(
        *("run", "-m", "combine.mask_threshold=0.4,0.5,0.6,0.7", "dataset=pairs", *QUICK),
        *(f"dataset.images={stored / 'set/images'}", f"dataset.masks={stored / 'set/masks'}"),
        f"runs_dir={runs}",
    )
    for job, service in enumerate((team.objects, team.postgres, team.server)):
        wait_until(lambda job=job: list(runs.glob(f"sweep/*/{job}/summary.json")), process)
        interrupt(service)
    code, text = finish(process)
    assert code == 0, text
    assert "Traceback" not in text
    ids = [json.loads(file.read_text())["run_id"] for file in runs.glob("sweep/*/*/summary.json")]
    _, tracked = find_runs(team, log_in)
    jobs = {run.info.run_id: run for run in tracked if run.info.run_id in ids}
    assert len(jobs) == len(ids) == 4
    assert {run.info.status for run in jobs.values()} == {"FINISHED"}
    for run_id in jobs:
        assert set(count_logged(team, run_id).values()) == {1}
    assert list_secrets_shown(team, runs) == []


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_batch_goes_on(stored, tmp_path, expected, engine):
    output = stored / "out"
    words = [f"input={stored / 'in'}", f"output={output}", f"runs_dir={tmp_path / 'runs'}", *QUICK]
    words += [f"engine={engine}", *(["engine.max_workers=2"] if engine == "ray" else [])]
    command = [sys.executable, "-m", "bgexp.cli.main", "batch", *words]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(lambda: count_results(output) >= 20, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sleep(2)
    again = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stderr
    assert_same(output, expected)
