import shlex
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import bgexp.cli.doctor as doctor
from bgexp.cli import checks as findings
from bgexp.cli import probe_detection as detection
from bgexp.cli import probe_store as store
from bgexp.cli.checks import Finding, Gpu
from bgexp.config.check import check_settings
from bgexp.config.doctor import DoctorSettings
from bgexp.detect.detections import Detections
from bgexp.errors import UserError
from bgexp.tracking.run_owner import make_owner_tags
from bgexp.tracking.store import open_store

GB = 10**9
CONF = Path(__file__).parents[2] / "conf"


def settings_for(runs, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("doctor", [f"runs_dir='{runs}'", *overrides])
    return check_settings(DoctorSettings, OmegaConf.to_container(composed))


def fail(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10, 14), "problem"), ((3, 11, 0), "ok"), ((4, 0, 0), "ok")]
)
def test_python(version, status):
    assert findings.check_python(version).status == status


def test_torch():
    versions = {"torch": "2.13.0+cpu", "torchvision": "0.28.0"}
    assert findings.check_torch(versions, lambda: None) == Finding(
        "torch", "ok", "torch 2.13.0+cpu, torchvision 0.28.0"
    )
    error = RuntimeError("operator torchvision::nms does not exist\nand more")
    foreign = findings.check_torch(versions, fail(error))
    assert foreign.status == "problem"
    assert foreign.detail.endswith("RuntimeError: operator torchvision::nms does not exist")
    assert foreign.mend == findings.REINSTALL_TORCH
    missing = findings.check_torch({}, fail(ModuleNotFoundError("No module named 'torch'")))
    assert missing.detail.startswith("not installed: ModuleNotFoundError")


@pytest.mark.parametrize("library", ["libGL.so.1", "libglib-2.0.so.0", "libgthread-2.0.so.0"])
def test_opencv_without_a_system_library(library):
    error = ImportError(f"{library}: cannot open shared object file: No such file or directory")
    finding = findings.check_opencv({"opencv-python": "5.0"}, fail(error))
    assert finding.status == "problem"
    assert library in finding.detail
    assert finding.mend == "apt-get install libgl1 libglib2.0-0 libxcb1"


@pytest.mark.parametrize(
    ("action", "status"), [(lambda: None, "warning"), (fail(AttributeError("gapi")), "problem")]
)
def test_two_opencvs(action, status):
    finding = findings.check_opencv(
        {"opencv-python": "5.0", "opencv-python-headless": "4.9"}, action
    )
    assert finding.status == status
    assert finding.mend == (
        "pip uninstall -y opencv-python opencv-python-headless"
        " && pip install --force-reinstall --no-deps opencv-python"
    )


def test_opencv_alone():
    assert findings.check_opencv({"opencv-python": "5.0"}, lambda: None).status == "ok"
    broken = findings.check_opencv({}, fail(ImportError("numpy")))
    assert (broken.status, broken.mend) == ("problem", findings.REINSTALL_OPENCV)


def test_devices():
    def statuses(*args):
        return [(f.name, f.status) for f in findings.check_devices(*args)]

    assert statuses("auto", "2 threads", [], "") == [("cpu", "ok"), ("cuda", "ok")]
    assert statuses("cuda", "2 threads", [], "")[1] == ("cuda", "problem")
    assert statuses("auto", "2 threads", [], "driver too old")[1] == ("cuda", "warning")
    gpus = [Gpu("H200", 100 * GB, 140 * GB), Gpu("T4", GB, 16 * GB)]
    pairs = statuses("cuda", "2 threads", gpus, "")
    assert pairs == [("cpu", "ok"), ("cuda:0", "ok"), ("cuda:1", "warning")]


@pytest.mark.parametrize(
    ("free", "refusal", "status"),
    [
        (5 * GB, "", "ok"),
        (5 * GB - 1, "", "warning"),
        (GB // 2, "", "warning"),
        (GB // 2 - 1, "", "problem"),
        (9 * GB, "Read-only file system", "problem"),
    ],
)
def test_disk(free, refusal, status):
    finding = findings.check_disk(Path("/a b"), free, refusal)
    assert finding.status == status
    assert (not finding.mend) == (status == "ok")
    assert not finding.mend or "'/a b'" in finding.mend


def test_memory():
    assert findings.check_memory(3 * GB).status == "ok"
    assert findings.check_memory(3 * GB - 1).status == "warning"


def test_a_crash_keeps_what_was_found_before():
    def check():
        yield Finding("a", "ok", "fine")
        raise ValueError

    assert findings.run_check("b", check) == [
        Finding("a", "ok", "fine"),
        Finding("b", "problem", "ValueError"),
    ]


def make_detections(boxes, scores):
    n = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(n, 4),
        labels=np.ones(n, np.int64),
        scores=np.array(scores, np.float32),
        masks=np.zeros((n, 28, 28), np.uint8),
        height=100,
        width=100,
    )


A, B = [0, 0, 10, 10], [50, 50, 90, 90]


@pytest.mark.parametrize(
    ("boxes", "scores", "start"),
    [
        ([B, A], [0.8, 0.79], ""),  # another order
        ([[0, 2, 10, 8], B], [0.81, 0.8], ""),  # within both tolerances
        ([A, B, [1, 1, 5, 5]], [0.8, 0.8, 0.51], ""),  # at the threshold
        ([[0, 3, 10, 10], B], [0.8, 0.8], "not found: box [0.0, 0.0, 10.0, 10.0]"),
        ([A, B], [0.8, 0.7], "not found: box [50.0"),
        ([A, B, [1, 1, 5, 5]], [0.8, 0.8, 0.6], "found besides: box [1.0"),
        ([], [], "not found: box [0.0"),
    ],
)
def test_disagreement(boxes, scores, start):
    expected, got = make_detections([A, B], [0.8, 0.8]), make_detections(boxes, scores)
    text = detection.find_disagreement(expected, got, 0.5)
    assert text.startswith(start)
    assert bool(text) == bool(start)


def test_another_label_disagrees():
    expected = make_detections([A], [0.8])
    assert "label 1" in detection.find_disagreement(
        expected, replace(expected, labels=expected.labels + 1), 0.5
    )


def test_runs_of_dead_processes_are_warned_of():
    tags = make_owner_tags()
    assert store.check_runs(3, {"abc": tags}, "sqlite:////x.db").status == "ok"
    dead = {"abc": tags | {"bgexp.pid": "999999999"}}
    assert store.check_runs(3, dead, "sqlite:////x.db").status == "warning"


def make_database(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def test_schema(tmp_path):
    (tmp_path / "abc_first.py").touch()
    table = "CREATE TABLE alembic_version (version_num)"
    path = f"{tmp_path}/a b#.db"
    database = make_database(path, table, "INSERT INTO alembic_version VALUES ('abc')")
    finding = store.check_schema(Path(database), tmp_path)
    assert (finding.status, finding.detail) == ("ok", f"{path}, schema abc")
    make_database(path, "UPDATE alembic_version SET version_num = 'def'")
    assert store.check_schema(Path(path), tmp_path).mend == "pip install --upgrade mlflow"


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_no_store_in_the_file(tmp_path, content):
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    finding = store.check_schema(path, tmp_path)
    assert (finding.status, finding.mend) == ("problem", f"mv {path} {path}.broken")


def test_a_locked_store_is_not_moved_away(tmp_path):
    path = make_database(tmp_path / "mlflow.db", "CREATE TABLE alembic_version (version_num)")
    with sqlite3.connect(path) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.check_schema(path, tmp_path)
    writer.close()


def test_a_store_of_an_older_mlflow(tmp_path, monkeypatch):
    (revision,) = store._find_migrations().glob("0c779009ac13_*.py")
    make_database(
        tmp_path / "mlflow.db",
        "CREATE TABLE alembic_version (version_num)",
        f"INSERT INTO alembic_version VALUES ('{revision.name.partition('_')[0]}')",
    )
    monkeypatch.setattr(store, "count_runs", refuse_to_open)
    (old,) = store.check_store(settings_for(tmp_path))
    assert (old.status, old.detail) == ("problem", "tracking.uri: no answer")
    place = tmp_path / "mlflow.db"
    assert old.mend == f"cp {place} {place}.backup && mlflow db upgrade sqlite:///{place}"


def refuse_to_open(_):
    raise UserError("tracking.uri: no answer")


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "count_runs", refuse_to_open)
    settings = settings_for(tmp_path, "tracking.uri='https://me:secret@example.org'")
    assert list(store.check_store(settings)) == [
        Finding(
            "store",
            "problem",
            "tracking.uri: no answer",
            "curl --fail https://example.org/health",
        )
    ]


def test_the_report(tmp_path, monkeypatch, capsys):
    long = "command " * 40
    results = [Finding("disk", "ok", "[bold]fine"), Finding("weights", "warning", "old", long)]
    monkeypatch.setattr(doctor, "run_checks", lambda _: results)
    assert doctor.run_doctor(settings_for(tmp_path)) == 0
    output = capsys.readouterr().out
    assert "[bold]fine" in output
    assert f"\nweights: {long}\n" in output
    results.append(Finding("memory", "problem", "none"))
    assert doctor.run_doctor(settings_for(tmp_path)) == 1


def test_a_broken_check_does_not_keep_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "check_detection", fail(ImportError("libGL.so.1")))
    monkeypatch.setattr(doctor, "_run_operator", lambda: None)
    statuses = {f.name: f.status for f in doctor.run_checks(settings_for(tmp_path / "not" / "yet"))}
    assert statuses["detection"] == "problem"
    assert statuses["store"] == "ok"
    assert {"python", "torch", "opencv", "cpu", "cuda", "disk", "memory"} <= set(statuses)
    assert list(tmp_path.iterdir()) == []


def test_missing_weights(tmp_path):
    settings = settings_for(tmp_path, f"detector.weights={tmp_path}/no.safetensors").detector
    (finding,) = detection.check_detection(settings)
    assert finding.status == "problem"
    assert finding.detail.startswith("detector.weights: no such file")
    assert finding.mend == "bgexp doctor detector=demo detector.weights=null"


def test_how_weights_are_had(tmp_path, monkeypatch):
    shipped = settings_for(tmp_path).detector
    monkeypatch.setattr(detection, "PACKAGE", tmp_path / "site-packages" / "bgexp")
    assert detection._suggest_command(shipped).endswith("-py3-none-any.whl")
    (tmp_path / "site-packages" / ".git").mkdir(parents=True)
    assert detection._suggest_command(shipped).startswith("git -C ")
    coco = settings_for(tmp_path, "detector=maskrcnn_resnet50_fpn").detector
    assert detection._suggest_command(coco).startswith("curl --fail --create-dirs -o /")
    assert detection._suggest_command(coco).endswith(".pth")


@pytest.mark.slow
def test_it_comes_with_torch_and_opencv_broken():
    code = "import sys; sys.modules |= {'cv2': None, 'torch': None}; import bgexp.cli.doctor"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_a_real_detection(tmp_path):
    import torch

    from bgexp.detect.demo import build_demo_model
    from bgexp.detect.weights import save_state

    weights = tmp_path / "random.safetensors"
    save_state(build_demo_model(128).state_dict(), weights, {})
    size = "detector.image_size=128"
    settings = settings_for(tmp_path, f"detector.weights={weights}", size).detector
    results = list(detection.check_detection(settings))
    assert [f.name for f in results][:2] == ["weights", "detection on cpu"]
    assert len(results) == 2 + torch.cuda.device_count()
    assert results[0].status == "ok"
    assert all("in the sample's cat.jpg" in f.detail for f in results[1:])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload``")  # MLflow's own use of SQLAlchemy
def test_a_real_store_and_the_command_that_mends_it(tmp_path):
    settings = settings_for(tmp_path)
    client, experiment = open_store(settings)
    client.create_run(experiment, tags=make_owner_tags() | {"bgexp.pid": "999999999"})
    opened, runs = store.check_store(settings)
    assert opened.status == "ok"
    assert "1 left RUNNING" in runs.detail
    exec(shlex.split(runs.mend)[2], {})
    assert list(store.check_store(settings))[1].status == "ok"
