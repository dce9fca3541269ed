"""`bgexp review`: the page of two runs, and its votes logged; the command line as people use it."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from bgexp.config.base import TrackedSettings, Tracking
from bgexp.metrics.win_rate import compute_self_agreement, compute_win_rate
from bgexp.tracking.store import open_store
from bgexp.tracking.votes import read_votes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def review_folder(two_runs, run_cli):
    """Make a review of the sweep; give its folder."""
    folder = two_runs / "review" / "made"
    words = ["last", "n_pairs=3", "repeats=2", "seed=5", f"runs_dir={two_runs}"]
    assert run_cli("review", *words, f"hydra.run.dir={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def plan(review_folder):
    return json.loads((review_folder / "review.json").read_text())


def save_votes(path, plan, prefers, judge="0badcafe"):
    """Save votes as the page does, where a judge always prefers one run."""
    votes = [
        {
            "pair": pair["pair"],
            "choice": "left" if pair["left"] == prefers else "right",
            "seconds": 2,
        }
        for pair in plan["pairs"]
    ]
    content = {"format": "bgexp-votes", "version": 1, "review": plan["review"], "judge": judge}
    path.write_text(json.dumps(content | {"votes": votes}))
    return path


def test_the_plan_says_whose_results_stand_where(review_folder, plan, two_runs):
    settings = TrackedSettings(runs_dir=two_runs, tracking=Tracking())
    client, _ = open_store(settings)
    tags = client.get_run(plan["review"]).data.tags
    assert tags["bgexp.command"] == "review"
    assert tags["bgexp.compared"].split() == list(plan["runs"])
    assert len(set(plan["runs"].values())) == len(plan["runs"]) == 2
    assert sum(pair["repeat"] for pair in plan["pairs"]) == 2
    assert {pair["left"] for pair in plan["pairs"]} <= plan["runs"].keys()
    assert yaml.safe_load((review_folder / "config.yaml").read_text())["seed"] == 5


def read_sources(review_folder, kind):
    """Return the data URIs of the pictures of a kind, in the order of the page."""
    page = (review_folder / "review.html").read_text()
    return re.findall(rf'<img class="{kind}" src="(data:[^"]+)"', page)


def test_the_page_hides_who_is_who(review_folder, plan):
    data = (review_folder / "review.html").read_text()
    numbers = re.findall(r'<article data-pair="([^"]*)">', data)
    assert numbers == [pair["pair"] for pair in plan["pairs"]]
    for secret in [*plan["runs"], *plan["runs"].values(), *(run[:8] for run in plan["runs"])]:
        assert secret not in data
    for pair in plan["pairs"]:
        assert pair["image"] not in data
    assert "threshold" not in data
    assert plan["review"] in data
    assert plan["review"] not in plan["runs"]


def test_a_pair_shows_its_two_masks_in_its_order(review_folder, plan):
    masks = {side: read_sources(review_folder, side) for side in ("left", "right")}
    masks_by_run = {}
    for place, pair in enumerate(plan["pairs"]):
        assert masks["left"][place] != masks["right"][place]
        for side in ("left", "right"):
            mask = masks_by_run.setdefault((pair["image"], pair[side]), masks[side][place])
            assert mask == masks[side][place]  # the repeated pair shows the same, swapped
    assert len(masks_by_run) == 2 * sum(not pair["repeat"] for pair in plan["pairs"])


def test_votes_come_back_as_preferences(plan, two_runs, tmp_path, bgexp_cli):
    first, second = plan["runs"]
    file = save_votes(tmp_path / "votes (1).json", plan, first)
    for _ in range(2):
        code, out, _ = bgexp_cli("review", f"votes={file}", f"runs_dir={two_runs}")
        assert code == 0
    assert out.splitlines()[0] == "5 votes by 1 judge on these runs"
    assert "100 % of 3 votes" in out
    assert out.splitlines()[-1].startswith("Repeated pairs judged alike: 2 of 2 ")
    votes = read_votes(TrackedSettings(runs_dir=two_runs, tracking=Tracking()), plan["runs"])
    assert (
        compute_win_rate(votes, first, second).wins,
        compute_win_rate(votes, first, second).n,
    ) == (3, 3)
    assert compute_self_agreement(votes).share == 1


def test_the_same_seed_gives_the_same_pairs(plan, two_runs, run_cli):
    again = two_runs / "review" / "again"
    words = ["last", "n_pairs=3", "repeats=2", "seed=5", f"runs_dir={two_runs}"]
    assert run_cli("review", *words, f"hydra.run.dir={again}") == 0
    other_plan = json.loads((again / "review.json").read_text())
    assert other_plan["pairs"] == plan["pairs"]
    assert other_plan["review"] != plan["review"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "bgexp: nobody: no such run in "),
        (["last", "n_pairs=0"], "bgexp: n_pairs: "),
        (["votes=nothing.json"], "no such file: nothing.json"),
        (["other", "votes=/dev/null"], "bgexp: votes: the file says of which runs it is"),
        (["last", "filter=attributes.status = 'FAILED'"], "bgexp: no run of "),
    ],
)
def test_a_mistake_is_one_line(two_runs, bgexp_cli, words, message):
    code, _, error = bgexp_cli("review", *words, f"runs_dir={two_runs}")
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1


def test_one_run_is_not_enough(plan, two_runs, bgexp_cli):
    code, _, error = bgexp_cli("review", next(iter(plan["runs"])), f"runs_dir={two_runs}")
    assert code == 2
    assert "runs: two finished runs are needed, not 1 (" in error


def test_too_many_variants_for_the_eye(two_runs, bgexp_cli, monkeypatch):
    monkeypatch.setattr("bgexp.review.command.MOST_VARIANTS", 1)
    code, _, error = bgexp_cli("review", "last", f"runs_dir={two_runs}")
    assert code == 2
    assert "runs: 2 runs are too many to judge by eye (allowed: 1); name those between" in error


def test_runs_without_a_difference(two_runs, bgexp_cli, monkeypatch):
    monkeypatch.setattr(
        "bgexp.review.command.read_fingerprints",
        lambda comparable: {path: [0, 0] for path in comparable.paths},
    )
    code, _, error = bgexp_cli("review", "last", f"runs_dir={two_runs}")
    assert code == 2
    assert "these runs have the same masks on every image" in error


def test_the_command_line(two_runs, plan, tmp_path):
    page = tmp_path / "page"
    words = [*(run[:8] for run in plan["runs"]), "n_pairs=2", "repeats=0", f"hydra.run.dir={page}"]
    process = subprocess.run(
        [sys.executable, "-m", "bgexp.cli.main", "review", *words, f"runs_dir={two_runs}"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "2 pairs of 2 images, 2 variants; 0 shown again" in process.stdout
    assert f"Open:    {page / 'review.html'}" in process.stdout
    new_plan = json.loads((page / "review.json").read_text())
    assert new_plan["runs"].keys() == plan["runs"].keys()
