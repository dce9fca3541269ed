"""What the tests of the command line share: it runs in this process, so that imports cost once."""

import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process and thread a run where nothing is said
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # a server that is away stays away

import bgexp

# Sets MLflow's environment: before a run that puts the environment back.
import bgexp.tracking.active_run
from bgexp.cli import main as cli
from bgexp.images.decode import decode_mask, encode_mask
from bgexp.system.stores import Address, forget_stores
from cluster.object_store import ObjectStore

# A busy machine takes its time: what a test measures is never how long it took.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")
hypothesis.settings.register_profile(  # of `make test-mutants`: the first failure is enough
    "mutants",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    max_examples=20,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    derandomize=True,
)

pytest_plugins = ["tests.rows", "tests.pages"]  # what several packages' tests share

SAMPLE = Path(bgexp.__file__).parent / "sample"


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a process of the tests ended that should not have: pytest-xdist keeps that back."""
    if error:
        code = node.gateway._io.popen.wait(timeout=60)
        print(f"\n{node.gateway.id}: its process ended with exit code {code}")


def pytest_collection_finish() -> None:
    """Spare the forks of `make test-mutants` looking at all that is imported."""
    if "MUTANT_UNDER_TEST" in os.environ:
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that hold slow tests: the quick ones fill up the time at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _run_cli(*arguments: str) -> int:
    """`bgexp ARGUMENTS` in this process; what it changes in the process is put back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level, sys.argv, dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:  # Hydra's way out
        return int(stop.code or 0)
    finally:
        for handler in [h for h in root.handlers if h not in before[0]]:
            handler.close()
        root.handlers[:], sys.argv = before[0], before[2]
        root.setLevel(before[1])
        os.environ.clear()
        os.environ.update(before[3])
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def run_cli() -> Callable[..., int]:
    """Runs the command line in this process; returns the exit code."""
    return _run_cli


@pytest.fixture
def bgexp_cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process; returns exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = _run_cli(*arguments)
        return code, *capfd.readouterr()

    return run


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the demo detector that find about a third of every image, scores near 0.64."""
    import torch

    from bgexp.detect.demo import build_demo_model
    from bgexp.detect.weights import save_state

    torch.manual_seed(0)
    model = build_demo_model()
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([0.0, 0.6]))
        model.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(0.3)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_state(model.state_dict(), path, {})
    return path


@pytest.fixture(scope="session")
def fast(weights: Path) -> list[str]:
    """Settings of a quick run: two images, a small network input, no refinement."""
    return [
        f"detector.weights={weights}",
        "detector.score_threshold=0.5",
        "detector.image_size=64",
        "dataset.subset=2",
        "refine=none",
        "device=cpu",
    ]


@pytest.fixture(scope="session")
def two_runs(
    run_cli: Callable[..., int], fast: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A runs folder with a sweep: two runs over four sample images, whose masks differ."""
    runs = tmp_path_factory.mktemp("two") / "runs"
    settings = [word for word in fast if "subset" not in word]
    settings += ["dataset.subset=4", "combine.mask_threshold=0.5,0.6", f"runs_dir={runs}"]
    assert run_cli("run", "-m", *settings) == 0
    return runs


@pytest.fixture
def inverted_pairs(tmp_path: Path) -> list[str]:
    """Four photographs with masks that are white where nothing is; their overrides."""
    folders = {name: tmp_path / "inverted" / name for name in ("images", "masks")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for file in sorted((SAMPLE / "images").rglob("*.jpg"))[::6]:
        [mask] = (SAMPLE / "masks").rglob(f"{file.stem}.*")
        shutil.copy(file, folders["images"])
        inverted = encode_mask(~decode_mask(mask.read_bytes()))
        (folders["masks"] / f"{file.stem}.png").write_bytes(inverted)
    return ["dataset=pairs", *(f"dataset.{name}={folder}" for name, folder in folders.items())]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of the 24 sample images without their masks."""
    return Path(shutil.copytree(SAMPLE / "images", tmp_path / "photographs"))


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Serves the bucket s3://photos to a user who may write and to one who may only read."""
    writer, reader = ("writer-key", "writer-secret/+"), ("reader-key", "reader-secret/+")
    folder = tmp_path_factory.mktemp("objects") / "store"
    with ObjectStore(folder, writer, reader, ["photos"]) as store:
        yield store


@pytest.fixture
def bucket(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Address]:
    """The address of an empty part of the bucket; copies of objects go into the test's folder."""
    for name, value in object_store.client_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget_stores()
    yield Address(f"s3://photos/{tmp_path.name}")
    forget_stores()
