"""`bgexp run -m sweep=grid`: all combinations under a name, by which they go on."""

import json

import pytest
from mlflow import MlflowClient

from bgexp.errors import UserError
from bgexp.tracking.run_folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(bgexp_cli, fast, tmp_path):
    """Runs the sweep; returns exit code, standard error and the summaries of its jobs."""
    runs = tmp_path / "runs"
    words = [word for word in fast if not word.startswith("refine")]

    def run(refine="none,guided"):
        code, _, err = bgexp_cli(
            "run", "-m", *words, f"refine={refine}", "sweep=grid", "sweep.study=mine",
            f"runs_dir={runs}",
        )  # fmt: skip
        return code, err, [read_summary(runs, n) for n in range(2)]

    return run


def read_summary(runs, number):
    try:
        return RunFolder(runs / f"sweep/mine/{number}").read_summary()
    except UserError:
        return None


def read_parent(tmp_path):
    return json.loads((tmp_path / "runs/sweep/mine/sweep.json").read_text())["run_id"]


def test_what_was_not_finished_is_done(sweep, tmp_path):
    code, err, before = sweep()
    assert code == 0, err
    parent = read_parent(tmp_path)
    (tmp_path / "runs/sweep/mine/1/summary.json").unlink()
    code, err, after = sweep()
    assert code == 0, err
    assert after[0] == before[0]
    assert after[1]["metrics"] == before[1]["metrics"]
    assert after[1]["run_id"] != before[1]["run_id"]
    assert read_parent(tmp_path) == parent
    assert {job["parent_run_id"] for job in after} == {parent}
    # Killed after its summary, before the store knew.
    store = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    store.set_terminated(after[0]["run_id"], "KILLED")
    code, err, last = sweep()
    assert code == 0, err
    assert last[0]["run_id"] != after[0]["run_id"]
    assert last[1] == after[1]
    # What was taken over has to be whole.
    damaged = tmp_path / "runs/sweep/mine/0"
    masks = (damaged / "masks.zip").read_bytes()
    (damaged / "masks.zip").write_bytes(masks[:-100])
    code, err, again = sweep()
    assert (code, again[1]) == (0, last[1]), err
    assert again[0]["run_id"] != last[0]["run_id"]
    assert (damaged / "masks.zip").read_bytes() == masks
    (damaged / "summary.json").unlink()
    (damaged / "summary.json").mkdir()
    code, err, _ = sweep()
    assert code == 2
    assert err.startswith(f"bgexp: {damaged}/summary.json: it is a folder, in the place of a file")
    code, err, _ = sweep("guided,none")
    assert code == 2
    assert err.startswith("bgexp: sweep.study: mine is a sweep of other settings")
