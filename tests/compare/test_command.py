"""`bgexp compare` over real runs: two jobs on four images, and single runs over other ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from bgexp.config.base import TrackedSettings, Tracking
from bgexp.metrics.win_rate import Vote
from bgexp.tracking import past_runs as history
from bgexp.tracking.past_runs import find_runs
from bgexp.tracking.votes import Review, log_votes

SAMPLE = Path(history.__file__).parents[1] / "sample"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(run_cli, fast, tmp_path_factory):
    """A runs folder with a sweep, a run on fewer images, one without truth, one that failed."""
    place = tmp_path_factory.mktemp("compare")
    runs = place / "runs"
    overrides = [o for o in fast if not o.startswith(("refine", "dataset"))]
    overrides += [f"runs_dir={runs}", "samples=0"]
    sample = place / "images"
    shutil.copytree(SAMPLE / "images", sample)
    # The order of images in a subset is by the seed, so that a smaller one is part of a larger.
    assert run_cli("run", *overrides, "refine=none", "dataset.subset=2") == 0
    assert run_cli(
        "run", *overrides, "refine=none", "dataset=folder", f"dataset.root={sample}",
        "dataset.subset=4"
    ) == 0  # fmt: skip
    assert run_cli("run", "-m", *overrides, "refine=none,grabcut", "dataset.subset=4") == 0
    settings = TrackedSettings(runs_dir=runs, tracking=Tracking())
    stored_runs = find_runs(settings, [], None)[::-1]  # the oldest first
    small, blind, none, grabcut = stored_runs
    return SimpleNamespace(
        runs_dir=runs, small=small, blind=blind, none=none, grabcut=grabcut, settings=settings
    )


@pytest.fixture
def compare(bgexp_cli, store):
    """Runs the command on the store; returns exit code, stdout, stderr."""

    def run(*words):
        return bgexp_cli("compare", *words, f"runs_dir={store.runs_dir}")

    return run


@pytest.fixture
def document(compare):
    """What --json prints."""

    def run(*words):
        code, out, err = compare(*words, "--json")
        assert code == 0, err
        return json.loads(out, parse_constant=pytest.fail)

    return run


def latest(store):
    return max((store.runs_dir / "compare").iterdir())


def test_the_last_sweep(compare, store):
    code, out, err = compare()
    assert (code, err) == (0, "")
    assert "2 runs on 4 images" in out
    assert "refine=grabcut" in out
    assert "IoU against refine=none" in out
    assert "decide)" in " ".join(out.split()) or "below 0.005" in " ".join(out.split())
    assert f"Look at: {latest(store) / 'report.html'}" in out
    assert max(len(line) for line in out.splitlines() if "Look at" not in line) <= 80
    assert {path.name for path in latest(store).iterdir()} == {"compare.json", "report.html"}
    page = (latest(store) / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 3
    assert "../../sweep/" in page


def test_the_numbers_are_those_of_the_rows(document, store):
    content = document(store.none.run_id, store.grabcut.run_id)
    assert content == json.loads((latest(store) / "compare.json").read_text())
    assert all((Path(variant["folder"]) / "summary.json").is_file() for variant in content["runs"])
    assert content["baseline"] == store.none.run_id
    before, after = (run.rows.set_index("path")["iou"] for run in (store.none, store.grabcut))
    changes = (after - before).to_numpy()
    [none, grabcut] = content["runs"]
    assert (none["settings"], grabcut["settings"]) == ({"refine": "none"}, {"refine": "grabcut"})
    against = grabcut["against_baseline"]
    assert none["against_baseline"] is None
    assert against["change"] == pytest.approx(changes.mean())
    assert against["won"] == (changes > 0).sum()
    assert against["lost"] == (changes < 0).sum()
    theirs = scipy.stats.bootstrap(
        (changes,), np.mean, method="percentile", rng=np.random.default_rng(9)
    ).confidence_interval
    half = (theirs.high - theirs.low) / 2
    assert (against["low"], against["high"]) == pytest.approx(tuple(theirs), abs=0.2 * half)
    times = store.none.rows.filter(regex="^ms").sum(axis=1).mean() / 1000
    assert none["seconds_per_image"] == pytest.approx(times)
    assert any(run["on_front"] for run in content["runs"])
    assert grabcut["metrics"]["mae"] == pytest.approx(store.grabcut.rows["mae"].mean())
    [effect] = content["settings"]
    assert effect["key"] == "refine"
    assert sum(category["images"] for category in content["categories"].values()) == 4


def test_a_baseline_may_be_named(document, store):
    content = document("last", f"baseline={store.grabcut.run_id[:10]}")
    assert content["baseline"] == store.grabcut.run_id
    assert [run["run_id"] for run in content["runs"]] == [store.none.run_id, store.grabcut.run_id]
    there = document("last")["runs"][1]["against_baseline"]["change"]
    assert content["runs"][0]["against_baseline"]["change"] == pytest.approx(-there)
    beside = document(store.grabcut.run_id, f"baseline={store.none.run_id}")
    assert [run["run_id"] for run in beside["runs"]] == [store.none.run_id, store.grabcut.run_id]


def test_over_different_images_it_is_reduced_and_says_so(compare, document, store):
    content = document(store.small.run_id, store.grabcut.run_id)
    assert content["images"]["compared"] == 2
    assert content["images"]["of"] == {store.small.run_id: 2, store.grabcut.run_id: 4}
    assert content["runs"][1]["counts"]["total"] == 2
    out = " ".join(compare(store.small.run_id, store.grabcut.run_id)[1].split())
    assert "Compared on the 2 images that all have" in out


def test_agreement_is_never_called_a_score(document, compare, store):
    content = document(store.blind.run_id, f"reference={store.grabcut.run_id}")
    [run] = content["runs"]
    assert run["metrics"] == {}
    assert set(run["agreement"]) == {"iou", "boundary_iou", "dice"}
    assert run["agreement"]["iou"]["n_scored"] + run["agreement"]["iou"]["n_undefined"] == 4
    same = document(store.blind.run_id, f"reference={store.none.run_id}")["runs"][0]
    assert same["agreement"]["iou"]["mean"] == 1
    out = compare(store.blind.run_id, f"reference={store.none.run_id}")[1]
    assert "agreement.iou" in out
    assert "which is no truth" in " ".join(out.split())


def test_without_truth_it_points_to_people(compare, store):
    code, out, _ = compare(store.blind.run_id, store.blind.run_id, f"reference={store.none.run_id}")
    assert code == 0
    assert "checks warn, they never choose" in out
    assert f"bgexp review {store.blind.run_id[:8]}" in out
    assert f"bgexp select {store.blind.run_id[:8]}" in out
    assert "IoU" not in out.replace("agreement.iou", "").replace("agreement.boundary_iou", "")


def test_only_json_on_standard_output(store, tmp_path):
    words = [
        store.blind.run_id,
        f"runs_dir={store.runs_dir}",
        f"reference={store.none.run_id}",
        "--json",
    ]
    process = subprocess.run(
        [sys.executable, "-m", "bgexp.cli.main", "compare", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    document = json.loads(process.stdout, parse_constant=pytest.fail)
    assert document["command"] == "compare"
    assert "agreement: 1 of 1" in process.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{small}"], "two finished runs are needed, 1 is meant"),
        (["last", "baseline=nobody"], "baseline: nobody: no such run"),
        (["last", "baseline=last"], "baseline: last is a sweep of 2 runs; give one of them"),
        (["last", "metric=ap"], "metric: Input should be 'iou'"),
        (["last", "cluster=image"], "cluster: Input should be 'category'"),
        (["last", "reference=nobody"], "reference: nobody: no such run"),
    ],
)
def test_a_mistake_is_one_line(compare, store, words, message):
    words = [word.format(small=store.small.run_id) for word in words]
    code, out, err = compare(*words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err


def test_json_is_not_for_every_command(bgexp_cli):
    code, _, err = bgexp_cli("doctor", "--json")
    assert code == 2
    assert err == (
        "bgexp: --json: not for `bgexp doctor` (allowed: run, compare, promote, batch, verify)\n"
    )


def test_other_contents_are_refused(compare, store):
    rows = store.small.folder.path / "per_image.parquet"
    kept = rows.read_bytes()
    table = pd.read_parquet(rows)
    table["sha256"] = "0" * 64
    try:
        table.to_parquet(rows)
        code, _, err = compare(store.small.run_id, store.none.run_id)
    finally:
        rows.write_bytes(kept)
    assert code == 2
    assert "2 paths in common, and under each the images differ in contents" in err


def test_what_did_not_finish_is_left_out_and_named(compare, store):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store.runs_dir / 'mlflow.db'}")
    client.set_terminated(store.small.run_id, "FAILED")
    try:
        code, out, _ = compare("last", store.small.run_id)
    finally:
        client.set_terminated(store.small.run_id, "FINISHED")
    assert code == 0
    assert f"({store.small.run_id[:8]}): it is failed, not finished" in " ".join(out.split())
    assert "2 runs on 4 images" in out


def test_settings_that_differ(store):
    from bgexp.compare.differences import find_cautions, find_differing_settings

    assert find_differing_settings([store.none, store.grabcut]) == [
        ["refine=none"],
        ["refine=grabcut"],
    ]
    assert find_differing_settings([store.none, store.small]) == [
        [],
        [],
    ]  # the images are told elsewhere
    assert find_cautions([store.none, store.grabcut]) == []


def test_votes_that_were_logged_come_along(compare, document, store, tmp_path):
    assert document("last")["win_rates"] is None
    none, grabcut = store.none.run_id, store.grabcut.run_id
    votes = [
        Vote(image=f"{n}", left=none, right=grabcut, choice="right", judge="j") for n in range(9)
    ]
    review = Review(review="0" * 32, runs={none: "none", grabcut: "grabcut"}, pairs=())
    log_votes(votes, review, store.settings, tmp_path)
    content = document("last")["win_rates"]
    assert content["votes"] == 9
    against = content["runs"][1]["against_baseline"]
    assert (against["wins"], against["rate"], against["decided"]) == (9, 1, True)
    assert content["runs"][0]["against_baseline"] is None
    assert "Win rates of 9 votes" in compare("last")[1]
    assert document(none, store.small.run_id)["win_rates"] is None  # no vote on these two
