"""Votes: the file that a page exports, what is wrong with it in one line, and the store."""

import json
from types import SimpleNamespace

import pytest

from bgexp.config.base import TrackedSettings, Tracking
from bgexp.errors import UserError
from bgexp.metrics.win_rate import Vote, compute_win_rate
from bgexp.system.atomic import write_json
from bgexp.tracking.active_run import open_run
from bgexp.tracking.store import open_store
from bgexp.tracking.votes import COMPARED, MAX_BYTES, PLAN, log_votes, read_file, read_votes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three runs, and a review of two of them."""
    root = tmp_path_factory.mktemp("votes")
    settings = TrackedSettings(runs_dir=root / "runs", tracking=Tracking())
    ids = {}
    for name in ("one", "other", "third"):
        with open_run(settings, "run", name, root / name) as run:
            ids[name] = run.run_id
    made = SimpleNamespace(settings=settings, root=root, ids=ids)
    made.review = add_review(made, "one", "other")
    return made


def add_review(store, *names):
    folder = store.root / f"review of {' '.join(names)}"
    folder.mkdir()
    left, right = (store.ids[name] for name in names)
    pairs = [("1", "cat/1.jpg", False), ("2", "cat/2.jpg", False), ("3", "cat/1.jpg", True)]
    with open_run(store.settings, "review", "a review", folder) as run:
        run.set_tags({COMPARED: f"{left} {right}"})
        plan = {
            "format": "bgexp-review",
            "version": 1,
            "review": run.run_id,
            "runs": {store.ids[name]: name for name in names},
            "pairs": [
                {
                    "pair": pair,
                    "image": image,
                    "left": right if repeat else left,
                    "right": left if repeat else right,
                    "repeat": repeat,
                }
                for pair, image, repeat in pairs
            ],
        }
        write_json(folder / PLAN, plan)
        run.log_file(folder / PLAN)
    return run.run_id


def export_votes(store, *choices, **changed):
    """What the page saves after so many pairs."""
    votes = [
        {"pair": str(pair), "choice": choice, "seconds": 1.5}
        for pair, choice in enumerate(choices, 1)
    ]
    content = {"format": "bgexp-votes", "version": 1, "review": store.review, "judge": "0badcafe"}
    return content | {"votes": votes} | changed


def save_content(tmp_path, content):
    path = tmp_path / "votes (1).json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_reads_back(store, tmp_path):
    file = save_content(tmp_path, export_votes(store, "left", "tie", "right"))
    votes, review = read_file(file, store.settings)
    first, other = store.ids["one"], store.ids["other"]
    shared = {"seconds": 1.5, "judge": "0badcafe"}
    assert votes == [
        Vote(image="cat/1.jpg", left=first, right=other, choice="left", **shared),
        Vote(image="cat/2.jpg", left=first, right=other, choice="tie", **shared),
        Vote(image="cat/1.jpg", left=other, right=first, choice="right", repeat=True, **shared),
    ]
    assert review.runs == {first: "one", other: "other"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "other"}, "format: "),
        ({"version": 2}, "version: "),
        ({"name": "me"}, "name: no such setting"),
        ({"judge": "../x"}, "judge: "),
        ({"judge": 7}, "judge: "),
        ({"review": "f" * 32}, "of a review that is not in the store"),
        ({"review": "' or 1=1"}, "review: "),
        ({"votes": []}, "votes: "),
        ({"votes": [{"pair": "1", "choice": "left"}]}, "votes.0.seconds: a value is needed"),
        ({"votes": [{"pair": "1", "choice": "a", "seconds": 1}]}, "votes.0.choice: "),
        ({"votes": [{"pair": "1", "choice": "left", "seconds": "1"}]}, "votes.0.seconds: "),
        ({"votes": [{"pair": "1", "choice": "left", "seconds": -1}]}, "votes.0.seconds: "),
        ({"votes": [{"pair": "\x1b[2J", "choice": "tie", "seconds": 1}]}, "no pair .* in this rev"),
        ({"votes": 2 * [{"pair": "1", "choice": "tie", "seconds": 1}]}, "two votes on pair 1"),
        ({"votes": [{"pair": "1", "choice": "tie", "seconds": 1, "image": "x"}]}, "image: no such"),
    ],
)
def test_what_is_wrong_is_one_line(store, tmp_path, changed, message):
    file = save_content(tmp_path, export_votes(store, "left", **changed))
    with pytest.raises(UserError, match=message) as caught:
        read_file(file, store.settings)
    assert str(caught.value).startswith(f"votes: {file}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', '{"a": 1, "a": 2}', "[" * 100_000, "\xff"])
def test_what_is_no_file_of_votes(store, tmp_path, text):
    with pytest.raises(UserError, match=r"^votes: .*votes .1.\.json: ") as caught:
        read_file(save_content(tmp_path, text), store.settings)
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice(store, tmp_path):
    text = json.dumps(export_votes(store, "left"))
    file = save_content(tmp_path, '{"judge": "other", ' + text[1:])
    with pytest.raises(UserError, match="'judge' stands there twice"):
        read_file(file, store.settings)


def test_a_file_that_is_too_large(store, tmp_path):
    file = save_content(tmp_path, export_votes(store, "left"))
    file.write_text(file.read_text() + " " * MAX_BYTES)
    with pytest.raises(UserError, match="File too large"):
        read_file(file, store.settings)


def test_a_file_that_is_not_there(store, tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json: No such file"):
        read_file(tmp_path / "nothing.json", store.settings)
    with pytest.raises(UserError, match="Is a directory"):
        read_file(tmp_path, store.settings)


def test_a_run_that_is_gone(store, tmp_path):
    ids = dict(store.ids)
    with open_run(store.settings, "run", "gone", store.root / "gone") as run:
        store.ids["gone"] = run.run_id
    review = add_review(store, "third", "gone")
    store.ids.clear()
    store.ids.update(ids)
    file = save_content(tmp_path, export_votes(store, "left", review=review))
    assert len(read_file(file, store.settings)[0]) == 1
    open_store(store.settings)[0].delete_run(run.run_id)
    with pytest.raises(UserError, match=r"no longer in the store: gone \(........\)$"):
        read_file(file, store.settings)


def test_what_was_logged_is_found_again(store, tmp_path):
    first, other, third = store.ids.values()

    def log(*choices, **changed):
        file = save_content(tmp_path, export_votes(store, *choices, **changed))
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        return log_votes(*read_file(file, store.settings), store.settings, folder)

    assert read_votes(store.settings, [first, other]) == []
    run_id = log("left", "tie", "right")
    log("left", "tie", "right")  # once more
    log("left", "left")  # the judge went back to the second pair
    log("both_bad", judge="another")
    votes = read_votes(store.settings, [other, first, third])
    assert sorted((vote.judge, vote.image, vote.choice) for vote in votes) == [
        ("0badcafe", "cat/1.jpg", "left"),
        ("0badcafe", "cat/1.jpg", "right"),
        ("0badcafe", "cat/2.jpg", "left"),
        ("another", "cat/1.jpg", "both_bad"),
    ]
    rate = compute_win_rate(votes, first, other)
    assert (rate.wins, rate.n, rate.n_both_bad) == (2, 2, 1)
    assert read_votes(store.settings, [first, third]) == []
    tags = open_store(store.settings)[0].get_run(run_id).data.tags
    assert tags["bgexp.command"] == "review"
    assert tags["bgexp.votes"] == "3"
    assert tags[COMPARED] == f"{first} {other}"
    assert tags["mlflow.parentRunId"] == store.review


def test_votes_of_another_machine_are_read_from_the_store(store, tmp_path):
    folder = tmp_path / "away"
    file = save_content(tmp_path, export_votes(store, "right", judge="far-away"))
    log_votes(*read_file(file, store.settings), store.settings, folder)
    (folder / "votes.json").unlink()
    votes = read_votes(store.settings, [store.ids["one"], store.ids["other"]])
    assert [vote.choice for vote in votes if vote.judge == "far-away"] == ["right"]
