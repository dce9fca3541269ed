"""From a sweep to production and back, as the README tells it, by the command line alone.

bgexp runs from a copy outside any checkout: of a checkout with changes nothing can be promoted.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pandas as pd
import psutil
import pytest

import bgexp
from bgexp.config.conf_dir import find_conf_dir

pytestmark = pytest.mark.slow
PHOTOGRAPHS = ("food/lemons.jpg", "food/coffee.jpg")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, with two photographs in `photos` and an installed copy of bgexp."""
    root = tmp_path_factory.mktemp("story")
    installed = root / "installed" / "bgexp"
    shutil.copytree(Path(bgexp.__file__).parent, installed)
    shutil.copytree(find_conf_dir(), installed / "conf")
    for name in PHOTOGRAPHS:
        (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installed / "sample" / "images" / name, root / "photos" / name)
    return root


@pytest.fixture(scope="module")
def environment(place):
    return os.environ | {
        "PYTHONPATH": str(place / "installed"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'runs' / 'mlflow.db'}",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def run_bgexp(place, environment):
    """Types `bgexp WORDS` and gives exit code, stdout and stderr."""

    def run(*words):
        command = [sys.executable, "-m", "bgexp.cli.main", *words]
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=400
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


def manifest(folder):
    return pd.read_parquet(folder / "manifest.parquet").set_index("path")


def test_the_story(place, run_bgexp, environment):
    sweep = ["run", "-m", "refine=none,unet", "dataset.subset=12", "device=cpu"]
    assert run_bgexp(*sweep)[0] == 0

    code, out, _ = run_bgexp("compare", "last", "metric=boundary_iou", "--json")
    assert code == 0
    assert "none" in out
    assert json.loads(out)

    plain = run_of(place, "refine=none")
    code, out, _ = run_bgexp("promote", f"run={plain[:8]}", "metric=boundary_iou.mean")
    assert (code, "bgexp version 1 is the champion" in out) == (0, True)
    code, out, _ = run_bgexp("batch", "model=champion", "input=photos", "output=first", "workers=1")
    assert code == 0
    assert set(manifest(place / "first")["model_version"]) == {"1"}

    code, out, _ = run_bgexp("promote", "last", "metric=boundary_iou.mean", "dry_run=true")
    assert (code, "it would be promoted" in out) == (0, True)
    code, out, _ = run_bgexp("promote", "last", "metric=boundary_iou.mean")
    assert (code, "bgexp version 2 is the champion" in out) == (0, True)
    code, out, err = run_bgexp("promote", f"run={plain[:8]}", "metric=boundary_iou.mean")
    assert (code, err.count("\n")) == (1, 1)
    assert "not enough better than bgexp version 2" in err

    code, _, err = run_bgexp("batch", "model=champion", "input=photos", "output=x", "refine=none")
    assert (code, err.count("\n"), "refine: model=… brings its own" in err) == (2, 1, True)
    assert (
        run_bgexp("batch", "model=champion", "input=photos", "output=second", "workers=1")[0] == 0
    )
    rows = manifest(place / "second")
    assert set(rows["model_name"] + rows["model_version"]) == {"bgexp2"}
    check_served(place, environment, rows)

    assert run_bgexp("promote", "rollback=true")[0] == 0
    assert run_bgexp("batch", "model=champion", "input=photos", "output=third", "workers=1")[0] == 0
    again = manifest(place / "third")
    assert list(again["output_sha256"]) == list(manifest(place / "first")["output_sha256"])
    assert list(again["output_sha256"]) != list(rows["output_sha256"])


def run_of(place, override):
    """The id of the sweep's job with this setting."""
    (folder,) = [
        path.parent
        for path in place.glob("runs/sweep/*/*/overrides.json")
        if override in json.loads(path.read_text())
    ]
    return json.loads((folder / "summary.json").read_text())["run_id"]


def check_served(place, environment, rows):
    """MLflow's own server gives, for an HTTP request, the bytes that the batch wrote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["models", "serve", "-m", "models:/bgexp@champion", "--env-manager", "local"]
    with (place / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, "--port", str(port)],
            cwd=place,
            env=environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=log,
            stderr=log,
        )
    try:
        for name in PHOTOGRAPHS:
            file = base64.b64encode((place / "photos" / name).read_bytes()).decode()
            status, answer = request_removal(port, {"inputs": [file]}, place / "serve.log")
            assert status == 200
            png = base64.b64decode(json.loads(answer)["predictions"][0])
            assert png == (place / "second" / rows.loc[name, "output"]).read_bytes()
        status, answer = request_removal(port, {"inputs": ["aGVsbG8="]}, place / "serve.log")
        assert (status, b"image 0: not an image" in answer) == (400, True)
    finally:
        family = [*psutil.Process(server.pid).children(recursive=True), server]
        for process in family:
            process.kill()
        server.wait()


def request_removal(port, content, log):
    """Status and body of a request, once the server answers at all."""
    for _ in range(240):
        with closing(HTTPConnection("127.0.0.1", port, timeout=100)) as connection:
            try:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/invocations", json.dumps(content), headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except ConnectionRefusedError:
                time.sleep(0.5)
    raise AssertionError(log.read_text())
