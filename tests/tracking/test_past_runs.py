"""Earlier runs found by what people call them, and one clear line where they are not."""

from dataclasses import dataclass

import pytest

from bgexp.config.base import TrackedSettings, Tracking
from bgexp.errors import UserError
from bgexp.system.atomic import write_json
from bgexp.tracking.active_run import open_run
from bgexp.tracking.past_runs import find_runs

pytestmark = pytest.mark.slow


@dataclass
class Store:
    settings: TrackedSettings
    ids: dict[str, str]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("history")
    store_of_runs = Store(TrackedSettings(runs_dir=root / "runs", tracking=Tracking()), {})

    def add(command, name, score, parent=None):
        folder = root / name
        folder.mkdir()
        with open_run(store_of_runs.settings, command, name, folder, parent) as run:
            run.log_metrics({"iou.mean": score})
            write_json(folder / "summary.json", {"run_id": run.run_id, "status": "failed"})
        store_of_runs.ids[name] = run.run_id

    add("run", "single", 0.1)
    add("train", "training", 0.9)
    add("sweep", "a sweep", 0.0)
    for number, score in enumerate((0.2, 0.8, 0.5)):
        add("run", f"job {number}", score, store_of_runs.ids["a sweep"])
    add("run", "twin", 0.3)
    store_of_runs.ids["twin 1"] = store_of_runs.ids["twin"]
    (root / "twin").rename(root / "twin 1")
    add("run", "twin", 0.3)
    add("sweep", "newest", 0.0)
    add("run", "its job", 0.4, store_of_runs.ids["newest"])
    return store_of_runs


def names(store, *words, where=None):
    return [run.name for run in find_runs(store.settings, words, where)]


def test_by_what_people_call_them(store):
    assert names(store, "single") == ["single"]
    assert names(store, store.ids["single"][:8]) == ["single"]
    assert names(store, store.ids["single"]) == ["single"]
    assert names(store, "last") == names(store, "sweep") == ["its job"]


def test_a_sweep_is_its_jobs_in_their_order(store):
    jobs = ["job 0", "job 1", "job 2"]
    assert names(store, store.ids["a sweep"]) == jobs
    assert names(store, "a sweep", "single", store.ids["job 1"]) == [*jobs, "single"]


def test_a_filter_narrows_what_is_named_or_takes_from_all(store):
    above = 'metrics."iou.mean" > 0.4'
    assert names(store, "a sweep", where=above) == ["job 1", "job 2"]
    assert names(store, where=above) == ["job 2", "job 1"]  # no training


def test_what_a_run_left(store):
    (run,) = find_runs(store.settings, ["job 1"])
    assert run.summary["run_id"] == run.run_id == store.ids["job 1"]
    assert run.parent_run_id == store.ids["a sweep"]
    assert (run.status, run.overrides, len(run.rows)) == ("FINISHED", [], 0)
    with pytest.raises(UserError, match=r"its config\.yaml is gone"):
        _ = run.settings


@pytest.mark.parametrize(
    ("words", "where", "message"),
    [
        (["nobody"], None, "nobody: no such run in"),
        (["training"], None, "training: no such run in"),
        (["twin"], None, "twin: 2 runs are called so"),
        ([], 'metrics."iou.mean" > 2', "no run of `bgexp run` in .* is meant by: filter="),
        ([], "metrics.iou.mean >", "filter: metrics.iou.mean >: "),
    ],
)
def test_a_mistake_is_one_line(store, words, where, message):
    with pytest.raises(UserError, match=message) as caught:
        find_runs(store.settings, words, where)
    assert "\n" not in str(caught.value)


def test_the_newest_sweep_stays_when_runs_follow_and_is_missed_where_there_is_none(tmp_path):
    settings = TrackedSettings(runs_dir=tmp_path / "runs", tracking=Tracking())

    def add(command, parent=None):
        with open_run(settings, command, f"a {command}", tmp_path, parent) as run:
            write_json(tmp_path / "summary.json", {})
            return run.run_id

    add("run")
    with pytest.raises(UserError, match=r"^sweep: no such run in .*, sweep for the newest"):
        find_runs(settings, ["sweep"])
    job, single = add("run", add("sweep")), add("run")
    assert [run.run_id for run in find_runs(settings, ["sweep"])] == [job]
    assert [run.run_id for run in find_runs(settings, ["last"])] == [single]
