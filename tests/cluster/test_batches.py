"""Batches by Ray and by Slurm: the bytes of one machine, and nothing lost with what is killed."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import pandas as pd
import psutil
import pytest

from bgexp.batch.output_folder import STATE
from bgexp.system.atomic import TEMPORARY
from tests.batch.conftest import manifest, tree

pytestmark = pytest.mark.cluster
SAMPLE = Path(__file__).parents[2] / "bgexp/sample/images"
MEASURED = ["timings_ms", "memory"]
ENGINES = {
    "ray": ["engine=ray", "engine.max_workers=2"],
    "slurm": ["engine=slurm", "engine.tasks=2"],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Copy the sample often enough that a batch of it can be hit in the middle."""
    folder = tmp_path_factory.mktemp("batches") / "in"
    for number in range(6):
        shutil.copytree(SAMPLE, folder / f"copy{number}")
    return folder


def start(source, output, *overrides):
    arguments = [
        *(f"input={source}", f"output={output}", f"runs_dir={output.parent / 'runs'}"),
        *("device=cpu", "refine=none", "detector.image_size=256", *overrides),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "bgexp.cli.main", "batch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process):
    text, _ = process.communicate(timeout=400)
    return process.returncode, text


@pytest.fixture(scope="module")
def expected(source):
    """Return results and rows of the same batch by this machine."""
    output = source.parent / "local"
    code, text = finish(start(source, output))
    assert code == 0, text
    return tree(output), manifest(output).drop(columns=MEASURED)


def assert_whole(source, output, expected):
    """Assert that every file has its row, and that bytes and rows are those of one machine."""
    assert tree(output) == expected[0]
    pd.testing.assert_frame_equal(manifest(output).drop(columns=MEASURED), expected[1])
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert set(manifest(output).index) == files
    assert not list(output.rglob(TEMPORARY))


@pytest.fixture
def in_slurm(slurm, monkeypatch):
    for name, value in slurm.client_environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("in_slurm")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_bytes_of_one_machine(source, tmp_path, expected, engine):
    code, text = finish(start(source, tmp_path / "out", *ENGINES[engine]))
    assert code == 0, text
    assert "Traceback" not in text
    assert_whole(source, tmp_path / "out", expected)


def find_processes(*words):
    """Return the processes with all of these words in their command lines."""
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if all(word in line for word in words):
            yield process


VICTIMS = {
    "worker": ("ray", ("ray::MapWorker",)),
    "raylet": ("ray", ("raylet/raylet",)),
    "driver of ray": ("ray", ("bgexp.cli.main batch", "engine=ray")),
    "task": ("slurm", ("submitit.core._submit", ".bgexp/slurm")),
    "driver of slurm": ("slurm", ("bgexp.cli.main batch", "engine=slurm")),
}


@pytest.mark.usefixtures("in_slurm")
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("seed", range(int(os.environ.get("KILLS", "1"))))
def test_what_is_killed_loses_nothing(source, tmp_path, expected, victim, seed):
    engine, words = VICTIMS[victim]
    output = tmp_path / "out"
    process = start(source, output, *ENGINES[engine])
    wanted = random.Random(f"{victim}{seed}").randint(1, 100)
    while count_records(output) < wanted and process.poll() is None:
        sleep(0.05)
    for hit in list(find_processes(*words))[:1]:
        hit.send_signal(signal.SIGKILL)
    code, text = finish(process)
    before = {path: path.stat().st_mtime_ns for path in output.glob("regular/**/*.png")}
    if victim != "worker":  # which Ray replaces
        end_what_is_left(engine)
        code, text = finish(start(source, output, *ENGINES[engine]))
    assert code == 0, text
    assert_whole(source, output, expected)
    done_again = sum(path.stat().st_mtime_ns != time for path, time in before.items())
    assert done_again <= 2 + 0.02 * len(before)


def count_records(output):
    journals = output.glob(f"{STATE}/*/*.journal.jsonl")
    return sum(len(path.read_bytes().splitlines()) for path in journals)


def end_what_is_left(engine):
    """End what a killed driver left running: a raylet lives on for a while."""
    words = {"ray": "ray/core/src/ray", "slurm": "submitit.core._submit"}[engine]
    end = monotonic() + 60
    while any(find_processes(words)) and monotonic() < end:
        sleep(0.5)
    for process in find_processes(words):
        process.kill()


def test_a_cluster_that_is_not_there(source, tmp_path):
    process = start(source, tmp_path / "out", "engine=ray", "engine.address=127.0.0.1:9")
    code, text = finish(process)
    assert code == 2
    assert "engine.address: no Ray cluster at 127.0.0.1:9" in text
    assert "Traceback" not in text


@pytest.fixture
def guarded_cluster(monkeypatch):
    """The address of a Ray cluster whose head asks for a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    with TemporaryDirectory(prefix="ray-") as folder:  # a socket's path is short
        command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
        command += ["--port=6398", f"--temp-dir={folder}", "--num-cpus=2"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ray:
            try:
                yield "127.0.0.1:6398"
            finally:
                started = psutil.Process(ray.pid).children(recursive=True)
                for process in started:
                    process.kill()
                ray.kill()


def test_a_cluster_that_asks_for_a_token(source, tmp_path, guarded_cluster, monkeypatch):
    wait_for_port(6398)
    settings = ["engine=ray", f"engine.address={guarded_cluster}"]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "b" * 64)
    code, text = finish(start(source, tmp_path / "out", *settings))
    assert code == 2
    assert text.startswith("bgexp: engine.address: the Ray cluster at 127.0.0.1:6398 wants another")
    assert text.count("\n") == 1
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    code, text = finish(start(source, tmp_path / "out", *settings))
    assert code == 0, text


def wait_for_port(port):
    end = monotonic() + 60
    while monotonic() < end:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            sleep(0.2)
    raise AssertionError(f"nobody listens at {port}")
