"""The images of a run shared among workers: the same results as in one process."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial

import pandas as pd
import psutil
import pytest

from bgexp.config.run import RunSettings
from bgexp.detect.inference_server import start_server
from bgexp.experiment import evaluate_dataset as evaluate
from bgexp.system.workers import TaskFailure, preload
from bgexp.tracking.run_folder import RunFolder

pytestmark = pytest.mark.slow
LOST = "its process died (SIGKILL, perhaps for want of memory)"


@pytest.fixture(scope="module", autouse=True)
def _imported():
    preload("bgexp.experiment.evaluate_dataset")


@pytest.fixture
def overrides(fast, photographs, tmp_path):
    """Five photographs, one of them broken, computed anew each time."""
    first, *others = sorted(path for path in photographs.rglob("*") if path.is_file())
    first.write_bytes(first.read_bytes()[:3000])
    for path in others[4:]:
        path.unlink()
    words = [word for word in fast if not word.startswith(("dataset", "refine"))]
    words += ["dataset=folder", f"dataset.root={photographs}", "refine=grabcut", "max_failed=0.5"]
    return [f"runs_dir={tmp_path / 'runs'}", *words, "force=true"]


def find_newest(tmp_path):
    return max((tmp_path / "runs" / "run").iterdir())


def read_results(folder):
    """What a run found, without what it took."""
    rows = pd.read_parquet(folder / "per_image.parquet")
    rows = rows[[name for name in rows if not name.startswith("ms.") and name != "cached"]]
    with zipfile.ZipFile(folder / "masks.zip") as archive:
        masks = [(name, archive.read(name)) for name in archive.namelist()]
    return rows.to_dict("records"), masks


def yield_no_server():
    raise AssertionError("it was loaded")


def artifact(tmp_path, summary, name):
    return tmp_path / "runs" / "artifacts" / summary["run_id"] / "artifacts" / name


def test_workers_find_what_one_process_finds(run_cli, overrides, tmp_path, capfd):
    assert run_cli("run", *overrides, "workers=1", "cache.max_gb=0") == 0
    single = find_newest(tmp_path)
    assert run_cli("run", *overrides, "workers=3", "cache.max_gb=0") == 0
    three = find_newest(tmp_path)
    assert str(read_results(three)) == str(read_results(single))
    assert len(read_results(three)[1]) == 4
    summaries = RunFolder(single).read_summary(), RunFolder(three).read_summary()
    assert [summary["workers"] for summary in summaries] == [1, 3]
    assert summaries[0]["identity"] == summaries[1]["identity"]
    assert all(summary["peak_rss_bytes"] > 1e8 for summary in summaries)
    tables = [
        json.loads(artifact(tmp_path, summary, "per_image.json").read_text())
        for summary in summaries
    ]
    assert len(tables[1]["data"]) == len(tables[0]["data"]) == 4
    assert "Traceback" not in capfd.readouterr().err


def test_workers_that_share_a_network_find_the_same(run_cli, overrides, tmp_path, monkeypatch):
    assert run_cli("run", *overrides, "workers=2", "cache.max_gb=0") == 0
    own = find_newest(tmp_path)
    monkeypatch.setattr("bgexp.detect.placement.wants_one_process", lambda _: True)
    assert run_cli("run", *overrides, "workers=2") == 0
    (rows, masks), (own_rows, own_masks) = read_results(find_newest(tmp_path)), read_results(own)
    assert masks == own_masks
    for row, own_row in zip(rows, own_rows, strict=True):
        assert row == pytest.approx(own_row, abs=1e-5, nan_ok=True)
    none = partial(start_server, yield_no_server)  # nor is it loaded where all is known
    monkeypatch.setattr("bgexp.detect.build.start_server", lambda _: none())
    assert run_cli("run", *overrides, "workers=2", "combine.mask_threshold=0.6") == 0
    assert RunFolder(find_newest(tmp_path)).read_summary()["detections"] == {
        "computed": 0,
        "cached": 4,
    }


def test_what_workers_found_is_known_to_the_next(run_cli, overrides, tmp_path):
    assert run_cli("run", *overrides, "workers=2") == 0
    assert run_cli("run", *overrides, "workers=2", "combine.mask_threshold=0.6") == 0
    assert RunFolder(find_newest(tmp_path)).read_summary()["detections"] == {
        "computed": 0,
        "cached": 4,
    }


def test_a_worker_that_dies_costs_its_image(run_cli, overrides, tmp_path, monkeypatch, capfd):
    run_tasks = evaluate.run_tasks

    def lose_task(tasks, *extra):
        for task, result in run_tasks(tasks, *extra):
            yield task, TaskFailure(LOST) if task == tasks[2] else result

    monkeypatch.setattr(evaluate, "run_tasks", lose_task)
    assert run_cli("run", *overrides, "workers=2") == 0
    rows, masks = read_results(find_newest(tmp_path))
    assert [row["status"] for row in rows] == ["failed", "ok", "failed", "ok", "ok"]
    assert rows[2]["reason"] == LOST
    assert len(masks) == 3
    assert LOST in capfd.readouterr().out


def test_a_cluster_finds_what_this_machine_does(overrides, tmp_path):
    pytest.importorskip("ray")
    results = []
    for engine in (["workers=2"], ["engine=ray", "engine.max_workers=2", "cache.max_gb=0"]):
        arguments = [sys.executable, "-m", "bgexp.cli.main", "run", *overrides, *engine]
        process = subprocess.run(arguments, capture_output=True, text=True)
        assert process.returncode == 0, process.stdout
        results.append(read_results(find_newest(tmp_path)))
    assert str(results[1]) == str(results[0])
    assert [row["status"] for row in results[1][0]] == ["failed", "ok", "ok", "ok", "ok"]


def test_no_cluster_is_one_line(bgexp_cli, overrides):
    pytest.importorskip("ray")
    code, _, errors = bgexp_cli("run", *overrides, "engine=ray", "engine.address=127.0.0.1:9")
    assert code == 2
    assert errors.startswith("bgexp: engine.address: no Ray cluster at 127.0.0.1:9: ")


@pytest.mark.parametrize(
    ("workers", "cores", "images", "wanted"),
    [
        (None, "4", 24, 4),
        (None, "4", 3, 3),
        (None, "0", 3, 1),
        (8, "4", 24, 8),
        (None, "4", 0, 1),
    ],
)
def test_how_many_workers(monkeypatch, workers, cores, images, wanted):
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    settings = RunSettings.model_construct(workers=workers)
    assert evaluate.count_workers(settings, images) == wanted


def test_a_job_that_is_a_process_of_its_own_has_no_workers(monkeypatch):
    monkeypatch.setattr(evaluate, "parent_process", multiprocessing.current_process)
    settings = RunSettings.model_construct(workers=2)
    assert evaluate.count_workers(settings, 24) == 1


def test_without_a_word_all_cores_are_ours(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    settings = RunSettings.model_construct(workers=None)
    assert evaluate.count_workers(settings, 10_000) == len(os.sched_getaffinity(0))


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(overrides, photographs, tmp_path):
    original = max(photographs.rglob("*.jpg"))
    for number in range(300):
        (photographs / f"{number:03}.jpg").write_bytes(
            original.read_bytes() + bytes([number % 256])
        )
    log = tmp_path / "log"
    command = [sys.executable, "-m", "bgexp.cli.main", "run", *overrides, "workers=2"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 240
        while not re.search(rb"images: ([6-9]\d|[12]\d\d) of 305", log.read_bytes()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    summary, (rows, masks) = (
        RunFolder(find_newest(tmp_path)).read_summary(),
        read_results(find_newest(tmp_path)),
    )
    assert summary["status"] == "interrupted"
    assert len(rows) == summary["counts"]["ok"] + summary["counts"]["failed"] < 305
    assert len(masks) == summary["counts"]["ok"] > 50
