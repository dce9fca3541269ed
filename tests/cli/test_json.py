"""What --json prints: the results alone on standard output, all else on the other."""

import json
from pathlib import Path

import pytest

from bgexp.system.atomic import write_json

pytestmark = pytest.mark.slow


@pytest.fixture
def print_json(bgexp_cli, tmp_path):
    """Returns exit code, document and standard error of a command with --json."""

    def run(*words):
        code, out, err = bgexp_cli(*words, f"runs_dir={tmp_path / 'runs'}", "--json")
        return code, json.loads(out, parse_constant=pytest.fail) if out else None, err

    return run


def test_a_sweep_a_promotion_and_a_batch(print_json, fast, photographs, tmp_path):
    words = [word for word in fast if not word.startswith(("dataset", "refine"))]
    code, runs, err = print_json("run", "-m", *words, "dataset.subset=2", "refine=none,guided")
    assert code == 0, err
    assert [job["status"] for job in runs["jobs"]] == ["finished", "finished"]
    assert all(job["counts"]["ok"] == 2 for job in runs["jobs"])
    assert "Report:" in err
    for job in runs["jobs"]:
        path = Path(job["folder"]) / "summary.json"
        summary = json.loads(path.read_text())
        summary["bgexp"]["git_dirty"] = False  # whatever is being changed here
        write_json(path, summary)
    code, decision, err = print_json("promote", "holdout=0")
    assert code == 0, err
    assert decision["refused"] == ""
    assert decision["winner"] in {job["run_id"] for job in runs["jobs"]}
    assert decision["version"]["number"] == 1
    places = [f"input={photographs}", f"output={tmp_path / 'out'}", "model=champion", "device=cpu"]
    code, plan, _ = print_json("batch", *places, "dry_run=true")
    assert code == 0
    assert all(file["output"] for file in plan["planned"])
    code, batch, _ = print_json("batch", *places)
    assert code == 0
    assert batch["output"] == str(tmp_path / "out")
    assert batch["counts"]["done"] == len(plan["planned"])
    code, share, _ = print_json("batch", *places, "part=1/2")
    assert (code, share) == (0, {"output": str(tmp_path / "out"), "newly_done": 0, "failed": 0})


def test_an_error_has_no_document(print_json):
    code, document, err = print_json("batch", "input=/nowhere", "output=/tmp/x")
    assert (code, document) == (2, None)
    assert err.startswith("bgexp: input: ")
