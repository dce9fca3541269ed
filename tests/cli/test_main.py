"""Wrong input ends in exit code 2 and a line that names the key and what is allowed."""

import errno
import getpass
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bgexp import __version__
from bgexp.cli import main as cli
from bgexp.cli.commands import START
from bgexp.errors import UserError
from tests.conftest import SAMPLE

WRONG = [
    (["detector.score_treshold=0.5"], ["detector.score_treshold", "detector.score_threshold"]),
    (["sed=1"], ["sed: no such setting", "seed"]),
    (["nonsense.key=1"], ["nonsense.key: no such setting"]),
    (["+detector.extra=1"], ["detector.extra: no such setting"]),
    (["+extra=1"], ["extra: no such setting"]),
    (["detector.score_threshold=1.5"], ["detector.score_threshold", "less than or equal to 1"]),
    (["detector.score_threshold=nan"], ["detector.score_threshold", "equal to", "got nan"]),
    (["detector.score_threshold=abc"], ["detector.score_threshold", "'abc'"]),
    (["detector=nosuch"], ["detector", "nosuch", "demo, maskrcnn_resnet50_fpn"]),
    (["detector.name=nosuch"], ["detector.name", "got nosuch", "demo, maskrcnn_resnet50_fpn"]),
    (["detector.labels=[zebra]"], ["detector.labels", "zebra", "allowed: object"]),
    (["nosuchgroup=demo"], ["nosuchgroup"]),
    (["~detector"], ["detector: a value is needed"]),
    (["device=tpu"], ["device", "'auto', 'cpu' or 'cuda'"]),
    (["dataset=folder"], ["dataset.root: a value is needed"]),
    (["dataset=pairs", "dataset.images=/x"], ["dataset.masks: a value is needed"]),
    (["dataset=folder", "dataset.root=/nosuch"], ["dataset.root: no such folder: /nosuch"]),
    (["dataset.subset=0"], ["dataset.subset", "greater than 0"]),
    (["detector.weights=/nosuch"], ["detector.weights: no such file: /nosuch"]),
    (
        ["refine=grabcut", "refine.iterations=0"],
        ["refine.iterations", "greater than or equal to 1"],
    ),
    (
        ["refine=none", "refine.iterations=1"],
        ["refine.iterations", "refine=none", "refine=grabcut"],
    ),
    (["cutout.background=nocolour"], ["cutout.background", "nocolour"]),
    (["refine=none,grabcut"], ["refine", "-m"]),
    (["seed=1,2"], ["seed", "-m"]),
    (["seed=${nothing}"], ["nothing"]),
    (["seed={"], ["seed: ", "got '{'"]),
    (["seed"], ["seed: a setting is given as key=value"]),
    (["--nonsense"], ["--nonsense", "bgexp run --help"]),
    (["--cfg", "nonsense"], ["nonsense", "job"]),
    (["--config-dir=/nosuch"], ["--config-dir", "/nosuch"]),
    (["-m", "refine=none,grabcut", "refine.iterations=1,2"], ["refine.iterations", "refine=none"]),
    (["-m", "seed=1,-2"], ["seed", "-2", "greater than or equal to 0"]),
    (["-m", "detector.score_threshold=interval(0,1)"], ["listed values or range"]),
    (["experiment=[1,2]"], ["an override", "int"]),
    (["experiment=null"], ["an override", "NoneType"]),
    (["hydra/launcher=NaN"], ["an override", "float"]),
    (["batch =NaN"], ["batch"]),
    (["detector={1: 2}"], ["detector"]),
    ([f"seed={'9' * 5000}"], ["seed"]),
    ([f"seed='{'x' * 5000}'"], ["seed: Input should be a valid integer"]),
    (["x" * 5000 + "=1"], ["xxx"]),
    (["refine='\x1b[31mred\x85\n'"], ["refine", "\\x1b[31mred"]),
    (["tracking.uri=nonsense://"], ["tracking.uri: nonsense://", "sqlite"]),
]
CODE = [
    ["+x._target_=os.system"],
    ["+detector._target_=os.system"],
    ["hydra.launcher._target_=os.system"],
    ["hydra.launcher._target_=hydra._internal.utils.os.system"],
    ["hydra.launcher._target_=${oc.env:HOME}"],
    ["+hydra.callbacks.x._target_=os.system"],
    ["+hydra.callbacks.x.y=[{_target_:os.system}]"],
    ["+hydra.callbacks.x=${oc.decode:'{_target_:os.system}'}"],
    ["+hydra.job_logging.handlers.x={class:subprocess.Popen,args:[id]}"],
    ["+hydra.job_logging.handlers.x={class:logging.os.system,command:id}"],
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_refusal(result, *words):
    code, out, err = result
    assert code == 2, err
    lines = err.splitlines()
    assert 1 <= len(lines) <= 3, err
    assert all(line.startswith("bgexp: ") for line in lines), err
    assert all(line.isprintable() and len(line) < 1100 for line in lines), err
    assert "Traceback" not in out + err
    for word in words:
        assert word in err
    return err


@pytest.mark.parametrize(("overrides", "words"), WRONG, ids=lambda value: " ".join(value)[:50])
def test_wrong_settings(bgexp_cli, fast, place, overrides, words):
    defaults = [o for o in fast if not any(o.split("=")[0] == w.split("=")[0] for w in overrides)]
    if any(o.startswith("dataset=") for o in overrides):
        defaults.remove("dataset.subset=2")
    if "~detector" in overrides or any(o.startswith("detector=") for o in overrides):
        defaults = [o for o in defaults if not o.startswith("detector")]
    check_refusal(bgexp_cli("run", *defaults, *overrides), *words)
    # A store that cannot be is found last; all else leaves nothing behind.
    names = {path.name for path in place.rglob("*")}
    assert names <= ({"runs", ".mlflow.lock"} if "tracking.uri=nonsense://" in overrides else set())


@pytest.mark.parametrize("overrides", CODE, ids=lambda value: value[0])
def test_a_config_names_no_code(bgexp_cli, fast, place, overrides):
    key = overrides[0].lstrip("+").partition("=")[0].partition("._target_")[0]
    check_refusal(bgexp_cli("run", *fast, *overrides), key.rpartition(".")[0] or key)
    assert not list(place.iterdir())


@pytest.mark.parametrize("command", ["nosuch", "Run", "", "--nosuch"])
def test_unknown_command(bgexp_cli, command):
    check_refusal(bgexp_cli(command), "no such command", "allowed: run, compare, ", "completion)")


@pytest.mark.usefixtures("place")
def test_only_run_sweeps(bgexp_cli):
    check_refusal(bgexp_cli("doctor", "-m", "device=cpu,cuda"), "-m", "bgexp doctor")


@pytest.mark.parametrize("digits", ["12345678", "123e4567"])
def test_what_looks_like_a_number_names_a_run(bgexp_cli, two_runs, digits):
    runs = f"runs_dir={two_runs}"
    check_refusal(bgexp_cli("promote", f"run={digits}", runs), f"{digits}: no such run")
    check_refusal(bgexp_cli("compare", digits, runs), f"{digits}: no such run")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("command", ["compare", "promote", "review", "select", "ui"])
def test_what_reads_runs_makes_no_store(bgexp_cli, tmp_path, command):
    check_refusal(bgexp_cli(command, "runs_dir=mine"), "runs_dir: no store in ")
    assert not (tmp_path / "mine").exists()


@pytest.mark.usefixtures("place")
def test_a_number_names_a_version(bgexp_cli):
    check_refusal(bgexp_cli("run", "model=3", "device=cpu"), "nothing is registered as 3")


@pytest.mark.usefixtures("place")
def test_cuda_without_one(bgexp_cli, fast, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_refusal(
        bgexp_cli("run", *fast[:-1], "device=cuda"), "device", "no CUDA device", "auto or cpu"
    )


def test_dataset_folders(bgexp_cli, fast, place):
    (place / "empty").mkdir()
    (place / "file").write_text("x")
    arguments = ["run", *fast, "dataset=folder"]
    check_refusal(bgexp_cli(*arguments, "dataset.root=empty"), "dataset.root: no images", ".jpg")
    check_refusal(bgexp_cli(*arguments, "dataset.root=file"), "dataset.root: not a folder")


def test_weights_files(bgexp_cli, fast, place, weights):
    import torch
    from safetensors.torch import save_file

    (place / "text.safetensors").write_text("no weights")
    (place / "text.pth").write_text("no weights")
    save_file({"layer.weight": torch.zeros(2)}, place / "other.safetensors")
    arguments = ["run", *fast[1:]]
    for name in ("text.safetensors", "text.pth"):
        text = check_refusal(bgexp_cli(*arguments, f"detector.weights={name}"), name)
        assert "no file of weights" in text
    check_refusal(
        bgexp_cli(*arguments, "detector.weights=other.safetensors"), "belongs to another model"
    )
    shutil.copy(weights, place / "renamed.pth")
    check_refusal(bgexp_cli(*arguments, "detector.weights=renamed.pth"), "renamed.pth")
    check_refusal(bgexp_cli(*arguments, "detector.weights=."), "no such file")
    assert not (place / "runs").exists()


def test_published_weights_without_network(bgexp_cli, place, monkeypatch):
    import torch

    def unreachable(*_args, **_options):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(place / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    text = check_refusal(
        bgexp_cli("run", "detector=maskrcnn_resnet50_fpn"),
        str(place / "hub"),
        "https://download.pytorch.org/",
        "detector.weights=FILE",
    )
    assert len(text.splitlines()) == 1
    assert not (place / "runs").exists()


def test_one_bad_value_in_a_sweep_starts_nothing(bgexp_cli, fast, place):
    result = bgexp_cli("run", "-m", *fast, "detector.score_threshold=0.5,0.6,1.5")
    check_refusal(result, "detector.score_threshold", "1.5")
    assert not list(place.iterdir())


def test_closed_port(bgexp_cli, fast, place, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    result = bgexp_cli("run", *fast, "tracking.uri=http://127.0.0.1:9")
    check_refusal(result, "tracking.uri: http://127.0.0.1:9")
    assert not list(place.glob("runs/*/*"))


@pytest.mark.parametrize("runs", ["file", "file/below", "/proc/nosuch", "/dev/null"])
def test_runs_cannot_be(bgexp_cli, fast, place, runs):
    (place / "file").write_text("mine")
    check_refusal(bgexp_cli("run", *fast, f"runs_dir={runs}"), "runs_dir: ")
    check_refusal(bgexp_cli("run", "-m", *fast, f"runs_dir={runs}"), "runs_dir: ")
    assert (place / "file").read_text() == "mine"


@pytest.mark.parametrize(("flag", "key"), [("", "hydra.run.dir"), ("-m", "hydra.sweep.dir")])
def test_earlier_results_are_not_written_over(bgexp_cli, fast, place, flag, key):
    (place / "earlier").mkdir()
    (place / "earlier" / ("sweep.json" if flag else "summary.json")).write_text("{}")
    check_refusal(
        bgexp_cli("run", *filter(None, [flag]), *fast, f"{key}=earlier"), key, "earlier run"
    )
    assert len(list((place / "earlier").iterdir())) == 1


def test_a_conf_in_the_current_folder_is_not_read(bgexp_cli, place):
    for name in ("conf", "."):
        (place / name / "detector").mkdir(parents=True)
        (place / name / "run.yaml").write_text("seed: 77\n")
        (place / name / "detector" / "demo.yaml").write_text("name: mine\n")
    code, out, _ = bgexp_cli("run", "--cfg", "job")
    assert code == 0
    assert "seed: 0" in out
    assert "name: mine" not in out


@pytest.mark.parametrize("name", ["mine", "a, b [c] it's ü", "x=y,z"])
def test_config_dir_is_read(bgexp_cli, place, name):
    folder = place / name / "experiment"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("# @package _global_\nseed: 77\n")
    arguments = ["run", "experiment=own", "--cfg", "job", "--config-dir", str(place / name)]
    code, out, err = bgexp_cli(*arguments)
    assert code == 0, err
    assert "seed: 77" in out


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"seed: [1\n",
            b"seed: 1\n  x: 2\n",
            b"\xff\xfe\x00",
            b"a: b: c\n",
            b"- 1\n",
            b"seed: *x\n",
        ),
        *(
            b"1: 2\n",
            b"true: 1\n",
            b"null: 1\n",
            b"2020-01-01: 1\n",
            b"? [1, 2]\n: 3\n",
            b"'': 3\n",
        ),
        *(b"text\n", b"5\n", b"seed: &x [*x]\n", b"seed: .nan\n", b"seed: ${oops\n"),
        *(b"defaults: 5\n", b"defaults: [1]\n", b"defaults: [{1: 2}]\n", b"defaults: ['']\n"),
        *(b'seed: "\\e[31mred"\n', b'"\\e[31mred": 1\n', b"seed: " + 6000 * b"x" + b"\n"),
        *(6000 * b"k" + b": 1\n", b"seed: !!python/object/apply:os.system [id]\n"),
    ],
    ids=lambda content: repr(content[:30]),
)
@pytest.mark.parametrize("package", [b"", b"# @package _global_\n"], ids=["", "global"])
def test_malformed_config(bgexp_cli, place, content, package):
    (place / "mine/experiment").mkdir(parents=True)
    (place / "mine/experiment/own.yaml").write_bytes(package + content)
    check_refusal(bgexp_cli("run", "experiment=own", "--config-dir", "mine"))


def test_an_error_without_a_text_has_its_name(bgexp_cli, monkeypatch):
    def fail(*_):
        raise UserError("\n") from ZeroDivisionError()

    monkeypatch.setattr("bgexp.cli.commands.START", {"doctor": fail})
    check_refusal(bgexp_cli("doctor"), "bgexp: ZeroDivisionError")


@pytest.mark.parametrize("line", ["callbacks: {x: {_target_: os.system}}", "job_logging: {(): x}"])
def test_code_in_a_config_dir(bgexp_cli, fast, place, line):
    (place / "mine/experiment").mkdir(parents=True)
    text = f"# @package _global_\nhydra:\n  {line}\n"
    (place / "mine/experiment/own.yaml").write_text(text)
    arguments = ["run", *fast, "experiment=own", "--config-dir", "mine"]
    check_refusal(bgexp_cli(*arguments), "hydra.", "names no code")


@pytest.mark.usefixtures("place")
def test_options_on_both_sides_of_m(bgexp_cli):
    for order in (["-m", "seed=1", "samples=2"], ["seed=1", "-m", "samples=2"]):
        check_refusal(bgexp_cli("run", *order, "max_failed=2"), "max_failed", "got 2")


def test_shows_config(bgexp_cli, place):
    code, out, _ = bgexp_cli("run", "--cfg", "job", "seed=3", "dataset=folder")
    assert code == 0
    assert "seed: 3" in out
    assert "root: ???" in out
    assert "hydra:" not in out
    code, out, _ = bgexp_cli("run", "--cfg", "job", "--resolve", "runs_dir=${oc.env:HOME}")
    assert (code, f"runs_dir: {os.environ['HOME']}" in out) == (0, True)
    check_refusal(bgexp_cli("run", "--cfg", "job", "--resolve", "seed=${nothing}"), "nothing")
    assert not list(place.iterdir())


def test_help_and_version(bgexp_cli):
    code, out, err = bgexp_cli()
    assert (code, err) == (0, "")
    assert bgexp_cli("--help") == (code, out, err)
    assert all(f"\n  {name} " in out for name in ("run", "train", "doctor", "ui"))
    assert bgexp_cli("--version") == (0, f"bgexp {__version__}\n", "")
    for command in ("run", "train", "doctor", "ui"):
        code, out, err = bgexp_cli(command, "--help")
        assert (code, err) == (0, "")
        assert "runs_dir: runs" in out
    assert "score_threshold: 0.6" in bgexp_cli("run", "-h")[1]


@pytest.mark.slow
def test_looking_is_quick_and_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from bgexp.cli.main import main\n"
        "for a in ([], ['--help'], ['--version'], ['run', '--help', 'seed=1'], ['nosuch']):\n"
        "    main(a)\n"
        "heavy = ['hydra', 'pydantic', 'torch', 'mlflow', 'cv2', 'pandas']\n"
        "print([m for m in heavy if m in sys.modules])\n"
        "for a in (['run', '--cfg', 'job'], ['run', 'seed=-1,'],"
        " ['run', '--cfg', 'all', '--resolve', 'tracking.uri=http://a:b@h']):\n"
        "    main(a)\n"
        "print([m for m in heavy[2:] if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert process.returncode == 0, process.stderr
    assert [line for line in process.stdout.splitlines() if line.startswith("[")] == ["[]", "[]"]


@pytest.mark.slow
def test_as_a_program(tmp_path):
    script = Path(sys.executable).parent / "bgexp"
    wrong = [[str(script), "run", "device=tpu"], [sys.executable, "-m", "bgexp.cli.main", "nosuch"]]
    for arguments in wrong:
        process = subprocess.run(
            arguments, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
        )
        check_refusal((process.returncode, process.stdout, process.stderr))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_it_ends_without_a_page_about_leaks():
    pytest.importorskip("triton")
    code = (
        "import sys, triton; sys.argv = ['bgexp', 'nosuch']\n"
        "from bgexp.cli.main import program; import torch; sys.exit(program())"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_text_with_empty_elements_is_one_line_and_no_warning():
    process = subprocess.run(
        [sys.executable, "-m", "bgexp.cli.main", "run", "seed=${oc.env:HOME,,,}"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1, process.stderr


def test_nothing_of_the_current_folder_is_imported(tmp_path, weights):
    for module in ("random", "numpy", "torch", "cv2", "mlflow"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from here')")
    shutil.copytree(SAMPLE / "images" / "animals", tmp_path / "in")
    script = Path(sys.executable).parent / "bgexp"
    network = [f"detector.weights={weights}", "detector.image_size=64", "refine=none", "device=cpu"]
    process = subprocess.run(
        [str(script), "batch", "input=in", "output=out", "workers=2", "runs_dir=runs", *network],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["run_id"]  # the store was reached, too


def start(arguments, stdout, **environment):
    """Start `bgexp ARGUMENTS` as a program; return its exit code and standard error."""
    process = subprocess.run(
        [sys.executable, "-m", "bgexp.cli.main", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )
    return process.returncode, process.stderr


def test_a_reader_that_has_gone_and_a_full_disk():
    reader, writer = os.pipe()
    os.close(reader)
    assert start(["run", "--help"], writer) == (0, "")
    os.close(writer)
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        message = "bgexp: standard output: No space left on device\n"
        assert start(["run", "--help"], full) == (1, message)


def test_warnings_that_are_errors_and_an_output_without_utf_8(tmp_path):
    with (tmp_path / "out").open("wb") as file:
        environment = {"PYTHONWARNINGS": "error", "PYTHONIOENCODING": "ascii"}
        result = start(["run", "--cfg", "job", "runs_dir=café"], file, **environment)
    assert result == (0, "")
    assert "runs_dir: caf\\xe9" in (tmp_path / "out").read_text()


def test_a_user_without_a_name_or_home(monkeypatch):
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever sets it
        monkeypatch.delenv(name)

    def find_nobody(_uid):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", find_nobody)
    with pytest.raises(RuntimeError):
        Path.home()
    cli._name_user()
    assert getpass.getuser() == f"user-{os.getuid()}"
    assert Path.home() == Path("/nonexistent")


@pytest.mark.usefixtures("place")
def test_an_error_of_the_store_somewhere_in_the_work(bgexp_cli, monkeypatch):
    from mlflow.exceptions import MlflowException

    def fail(*_):
        raise MlflowException("The run 5 must be in the 'active' state.\nmore")

    monkeypatch.setattr("bgexp.cli.commands.START", {"doctor": fail})
    check_refusal(bgexp_cli("doctor"), "tracking.uri: ", "The run 5 must be in the 'active' state.")


@pytest.mark.parametrize("command", ["run", "sweep", "compare", "promote"])
def test_a_store_that_another_process_holds_is_one_line(bgexp_cli, fast, place, two_runs, command):
    words = {
        "run": ["run", *fast, "seed=7"],
        "sweep": ["run", "-m", *fast, "seed=7,8"],
        "compare": ["compare", "last"],
        "promote": ["promote"],
    }
    database = shutil.copy(two_runs / "mlflow.db", place)
    store = sqlite3.connect(database, isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    try:
        uri = f"tracking.uri=sqlite:///{database}?timeout=0"
        result = bgexp_cli(*words[command], "runs_dir=runs", uri)
    finally:
        store.execute("ROLLBACK")
        store.close()
    check_refusal(result, "database is locked")


@pytest.mark.parametrize("zone", [":America/New_York", "Nowhere/Bad", ""])
def test_odd_time_zones(bgexp_cli, place, monkeypatch, zone):
    (place / "images").mkdir()
    shutil.copy(min((SAMPLE / "images/birds").iterdir()), "images")
    with monkeypatch.context() as changes:
        changes.setenv("TZ", zone)
        time.tzset()
        code, out, err = bgexp_cli("analyze", "dataset.root=images", "workers=1")
    time.tzset()
    assert (code, err.count("Traceback")) == (0, 0), err
    assert "Look at: " in out


@pytest.mark.parametrize("command", ["compare", "ui", "batch"])
def test_missing_rights_are_one_line(bgexp_cli, monkeypatch, command):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", "/private/a")

    monkeypatch.setitem(START, command, refuse)
    overrides = ["input=.", "output=o"] if command == "batch" else []
    check_refusal(bgexp_cli(command, *overrides), "/private/a: Permission denied")


def test_a_full_disk_is_one_line_and_no_mistake_of_the_user(bgexp_cli, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/private/a")

    monkeypatch.setitem(START, "doctor", fail)
    code, out, err = bgexp_cli("doctor")
    assert (code, out, err) == (1, "", "bgexp: /private/a: No space left on device\n")
