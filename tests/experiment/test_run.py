"""One experiment: broken files become rows, changed inputs are computed anew, signals are kept."""

import html
import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import pandas as pd
import pytest

from bgexp.config.stages import GrabCut
from bgexp.experiment import run as experiment
from bgexp.images.decode import decode_mask
from bgexp.tracking.run_folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(fast):
    return ["dataset=folder", *(o for o in fast if not o.startswith("dataset"))]


def find_newest(runs):
    return max((runs / "run").iterdir())


def client(runs):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


def bomb():
    """A PNG of ten gigapixels in 57 bytes."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


EVIL = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture
def broken(photographs):
    """Eight good files, the name of one as long as a name can be, and four broken ones."""
    for path in sorted(path for path in photographs.rglob("*") if path.is_file())[8:]:
        path.unlink()
    good = sorted(path for path in photographs.rglob("*") if path.is_file())
    good[0].rename(photographs / ("写" * 83 + "a.jpg"))
    good[7].rename(photographs / EVIL)
    (photographs / "cut.jpg").write_bytes(good[1].read_bytes()[:3000])
    (photographs / "text.jpg").write_text("no image\n" * 50)
    (photographs / "empty.jpg").touch()
    (photographs / "bomb.png").write_bytes(bomb())
    return photographs


def test_broken_files_are_rows(run_cli, broken, settings, tmp_path, capfd):
    runs = tmp_path / "runs"
    command = ["run", f"runs_dir={runs}", *settings, f"dataset.root={broken}", "samples=12"]
    assert run_cli(*command) == 1
    out, err = capfd.readouterr()
    assert "Failed:" in out
    assert "4 images" in out
    assert "Traceback" not in out + err
    strict = find_newest(runs)
    rows = pd.read_parquet(strict / "per_image.parquet").set_index("path")
    assert (rows["status"] == "ok").sum() == 8
    for name, reason in {
        "cut.jpg": "truncated",
        "text.jpg": "",
        "empty.jpg": "empty",
        "bomb.png": "megapixels",
    }.items():
        assert rows.loc[name, "status"] == "failed"
        assert rows.loc[name, "reason"]
        assert "\n" not in rows.loc[name, "reason"]
        assert reason in rows.loc[name, "reason"].lower()
    with zipfile.ZipFile(strict / "masks.zip") as archive:
        assert len(archive.namelist()) == 8
    assert len(list((strict / "samples").iterdir())) == 8
    page = (strict / "report.html").read_text()
    assert EVIL not in page
    assert page.count(html.escape(EVIL)) >= 1
    assert page.count("cut.jpg") >= 1  # failed files are named too
    assert page.count("data:image/") >= 8 * 3
    summary = RunFolder(strict).read_summary()
    assert summary["status"] == "failed"
    assert summary["counts"] == {"total": 12, "ok": 8, "failed": 4, "skipped": 0}
    assert summary["metrics"] == {}
    assert client(runs).get_run(summary["run_id"]).info.status == "FAILED"

    assert run_cli(*command, "max_failed=0.5") == 0
    lenient = RunFolder(find_newest(runs)).read_summary()
    assert lenient["status"] == "finished"
    assert lenient["reused_from"] is None  # a failed run is no result
    assert client(runs).get_run(lenient["run_id"]).info.status == "FINISHED"

    assert run_cli(*command, "max_failed=0.1") == 1
    stricter = RunFolder(find_newest(runs)).read_summary()
    assert stricter["reused_from"] == lenient["run_id"]
    assert stricter["status"] == "failed"
    assert client(runs).get_run(stricter["run_id"]).info.status == "FAILED"


def test_nothing_but_broken_files(run_cli, settings, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.jpg").touch()
    command = ["run", f"runs_dir={tmp_path / 'runs'}", *settings, f"dataset.root={tmp_path / 'in'}"]
    assert run_cli(*command, "max_failed=1") == 0
    summary = RunFolder(find_newest(tmp_path / "runs")).read_summary()
    assert summary["counts"]["failed"] == 1
    assert summary["checks"] == {}


def identity(fast, **changes):
    from bgexp.config.check import check_settings
    from bgexp.config.compose import compose_config, resolve_config
    from bgexp.config.run import RunSettings

    run_settings = check_settings(RunSettings, resolve_config(compose_config("run", fast, None)))
    return experiment.prepare(run_settings.model_copy(update=changes)).identity


def test_identity(fast, weights, tmp_path):
    same, differ = identity(fast), []
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    for key in (
        "runs_dir=elsewhere",
        "force=true",
        "max_failed=1",
        "device=auto",
        "tracking.experiment=x",
    ):
        assert identity([*fast, key]) == same, key
    assert identity([*fast, f"detector.weights={moved}"]) == same
    for key in (
        "seed=1",
        "samples=1",
        "dataset.subset=3",
        "combine.fill_holes=0.1",
        "refine=grabcut",
    ):
        differ.append(identity([*fast, key]))
    differ.append(identity(fast, refine=GrabCut(iterations=4)))
    moved.write_bytes(weights.read_bytes() + b" ")
    differ.append(identity([*fast, f"detector.weights={moved}"]))
    assert len({same, *differ}) == 8


def test_a_changed_image_changes_the_identity(settings, photographs):
    overrides = [*settings, f"dataset.root={photographs}"]
    before = identity(overrides)
    image = photographs / "animals/cat.jpg"
    data = image.read_bytes()
    image.write_bytes(data + b"\0")
    assert identity(overrides) != before
    image.write_bytes(data)
    assert identity(overrides) == before


def test_an_image_that_vanishes_has_no_sample(
    run_cli, settings, photographs, tmp_path, monkeypatch
):
    real = experiment.draw_run

    def late(*args):
        for path in (photographs / "animals").iterdir():
            path.unlink()
        return real(*args)

    monkeypatch.setattr(experiment, "draw_run", late)
    command = ["run", f"runs_dir={tmp_path / 'runs'}", *settings, f"dataset.root={photographs}"]
    assert run_cli(*command, "samples=24") == 0
    assert len(list((find_newest(tmp_path / "runs") / "samples").iterdir())) == 20


def test_no_name_steers_the_terminal(run_cli, settings, tmp_path, capfd):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a\x1b[31m\nFORGED line\u202e.jpg").write_text("no image")
    run_cli("run", f"runs_dir={tmp_path / 'runs'}", *settings, f"dataset.root={data}")
    shown = "".join(capfd.readouterr()) + (find_newest(tmp_path / "runs") / "log.txt").read_text()
    assert "a\\x1b[31m\\nFORGED line\\u202e.jpg: " in shown
    assert not [steer for steer in ("\x1b[31m", "\u202e", "\nFORGED") if steer in shown]


def test_a_page_that_cannot_be_drawn_loses_no_numbers(run_cli, fast, tmp_path, monkeypatch):
    def broken(*_args):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(experiment, "draw_run", broken)
    assert run_cli("run", f"runs_dir={tmp_path / 'runs'}", *fast) == 0
    folder = find_newest(tmp_path / "runs")
    assert RunFolder(folder).read_summary()["status"] == "finished"
    assert "no report.html: ZeroDivisionError: boom" in (folder / "log.txt").read_text()


@pytest.mark.parametrize("mode", [[], ["-m"]])
@pytest.mark.parametrize("place", [(RunFolder, "write_overrides"), (logging.FileHandler, "_open")])
def test_a_folder_that_cannot_be_written_is_one_line(
    run_cli, fast, tmp_path, monkeypatch, capfd, mode, place
):
    def full(*_args):
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr(*place, full)
    assert run_cli("run", *mode, f"runs_dir={tmp_path / 'runs'}", *fast) == 1
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "bgexp: there: No space left on device"


@pytest.mark.parametrize("name", ["write_page", "write_sample"])
def test_a_page_for_which_there_is_no_room_is_a_line_in_the_log(
    run_cli, fast, tmp_path, monkeypatch, capfd, name
):
    def full(*_args):
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr(RunFolder, name, full)
    assert run_cli("run", f"runs_dir={tmp_path / 'runs'}", *fast) == 0
    assert "Traceback" not in "".join(capfd.readouterr())
    folder = find_newest(tmp_path / "runs")
    assert RunFolder(folder).read_summary()["status"] == "finished"
    assert "no report.html: OSError: [Errno 28] No space left" in (folder / "log.txt").read_text()


def test_a_full_disk_leaves_no_half_archive(run_cli, fast, tmp_path, monkeypatch, capfd):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    assert run_cli("run", f"runs_dir={tmp_path / 'runs'}", *fast) == 1
    assert "No space left on device" in capfd.readouterr().out
    folder = find_newest(tmp_path / "runs")
    assert RunFolder(folder).read_summary()["status"] == "failed"
    assert not list(folder.glob("masks.zip")) + list(folder.glob(".bgexp-*"))


# -- signals: three sweeps side by side, in processes of their own ---------------------------------

SLOW = """
import itertools, sys, time
from bgexp.cli import main as cli
from bgexp.experiment import evaluate_dataset as evaluate
evaluate_image, count = evaluate.evaluate_image, itertools.count(1)
def slow(*args):
    if next(count) > 6:
        time.sleep(3)
    return evaluate_image(*args)
evaluate.evaluate_image = slow
sys.exit(cli.main())
"""


def start(runs, settings, photographs):
    overrides = [
        f"runs_dir={runs}",
        *settings,
        f"dataset.root={photographs}",
        "refine=none,grabcut",
    ]
    overrides = [setting for setting in overrides if setting != "refine=none"]
    log = (runs.parent / f"{runs.name}.log").open("wb")
    with log:
        return subprocess.Popen(
            [sys.executable, "-c", SLOW, "run", "-m", *overrides], stdout=log, stderr=log
        )


def wait_for(process, log, pattern, seconds):
    end = time.monotonic() + seconds
    while not re.search(pattern, log.read_bytes()):
        ended = process.poll() is not None and not re.search(pattern, log.read_bytes())
        assert not ended, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def test_signals(run_cli, settings, photographs, tmp_path):
    signals = {
        "term": [signal.SIGTERM],
        "int": [signal.SIGINT, signal.SIGINT],
        "kill": [signal.SIGKILL],
    }
    started = {name: start(tmp_path / name, settings, photographs) for name in signals}
    codes = {}
    try:
        for name, process in started.items():
            wait_for(process, tmp_path / f"{name}.log", rb"images: ([6-9]|1\d) of 24", seconds=240)
        for name, process in started.items():
            for number in signals[name]:
                os.kill(process.pid, number)
                time.sleep(0.05)
            if name != "kill":
                wait_for(process, tmp_path / f"{name}.log", b"bgexp: interrupted", seconds=60)
            codes[name] = process.wait(120)  # how long Python takes to unload is not ours
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    assert codes == {"term": 143, "int": 130, "kill": -signal.SIGKILL}
    for name in ("term", "int"):
        assert "Traceback" not in (tmp_path / f"{name}.log").read_text()
        assert_interrupted(tmp_path / name)

    runs = tmp_path / "kill"
    assert {run.info.status for run in client(runs).search_runs(["1"])} == {"RUNNING"}
    left = {run.info.run_id for run in client(runs).search_runs(["1"])}
    few = ["dataset.subset=1", f"dataset.root={photographs}"]
    assert run_cli("run", f"runs_dir={runs}", *settings, *few) == 0
    runs_by_id = {run.info.run_id: run for run in client(runs).search_runs(["1"])}
    assert len(left) == 2
    assert {runs_by_id[run_id].info.status for run_id in left} == {"KILLED"}
    assert sorted(run.info.status for run in runs_by_id.values()) == [
        "FINISHED",
        "KILLED",
        "KILLED",
    ]


def assert_interrupted(runs):
    assert [run.info.status for run in client(runs).search_runs(["1"])] == ["KILLED"] * 2
    [folder] = (runs / "sweep").iterdir()
    [job] = folder.glob("*/")
    summary = RunFolder(job).read_summary()
    assert summary["status"] == "interrupted"
    counts = summary["counts"]
    assert counts["total"] == 24
    assert counts["ok"] >= 6
    assert counts["skipped"] == 24 - counts["ok"] > 0
    with zipfile.ZipFile(job / "masks.zip") as archive:
        assert archive.testzip() is None
        assert counts["ok"] <= len(archive.namelist()) <= counts["ok"] + 1
        for name in archive.namelist():
            assert decode_mask(archive.read(name)).any()
    assert len(pd.read_parquet(job / "per_image.parquet")) == counts["ok"]
    artifacts = Path(runs / "artifacts" / summary["run_id"] / "artifacts")
    assert json.loads((artifacts / "summary.json").read_text())["status"] == "interrupted"
    assert not list(runs.rglob(".bgexp-*"))
