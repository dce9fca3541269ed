"""Promotion from a store: every refusal says why, nothing foreign is run, and one champion is left.

The runs here are written as `bgexp run` leaves them, with scores that are known.
"""

import base64
import json
import re
import threading
import warnings
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from bgexp.config.check import check_settings, flatten_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.promote import PromoteSettings
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.metrics.win_rate import Vote
from bgexp.promote import judges
from bgexp.promote.command import promote
from bgexp.promote.serving import open_service
from bgexp.system.addresses import read_file_uri
from bgexp.system.atomic import write_json
from bgexp.system.hashing import hash_file
from bgexp.tracking.active_run import open_run
from bgexp.tracking.bundle import DETECTOR, SETTINGS
from bgexp.tracking.registry import apply_model, fetch, find_version, set_champion
from bgexp.tracking.store import open_store

pytestmark = pytest.mark.slow
PATHS = [f"{category}/{n}.jpg" for category in "abc" for n in range(20)]


def compose(kind, name, *overrides):
    values = resolve_config(compose_config(name, list(overrides), None))
    return check_settings(kind, {k: v for k, v in values.items() if k != "sweep"})


class Store:
    """A store with runs whose scores are set."""

    def __init__(self, root, weights):
        self.root, self.weights, self.count = root, weights, 0

    def settings(self, *overrides):
        return compose(PromoteSettings, "promote", f"runs_dir={self.root / 'runs'}", *overrides)

    def promote(self, *overrides):
        self.count += 1
        return promote(self.settings(*overrides), self.root / f"promotion {self.count}")

    def version(self, alias="champion"):
        version = find_version(self.settings(), alias)
        return version and version.number

    def add(self, score, *overrides, parent=None, digest="d" * 64, dirty=False, status="finished"):
        """Add a run whose images have about this IoU, nan for no truth; return its id."""
        self.count += 1
        folder = self.root / f"run {self.count}"
        base = [f"detector.weights={self.weights}", "refine=none", f"seed={self.count}"]
        runs = f"runs_dir={self.root / 'runs'}"
        settings = compose(RunSettings, "run", *base, runs, *overrides)
        noise = np.random.default_rng(self.count).normal(0, 0.01, len(PATHS))
        texts = {"path": PATHS, "category": ".", "sha256": "0", "status": "ok"}
        rows = pd.DataFrame(texts | {"iou": score + noise})
        folder.mkdir()
        rows.to_parquet(folder / "per_image.parquet")
        config = yaml.safe_dump(settings.model_dump(mode="json"))
        (folder / "config.yaml").write_text(config)
        with open_run(settings, "run", f"run {self.count}", folder, parent) as run:
            run.log_params(flatten_settings(settings))
            run.log_dataset("pairs", digest, "photos", len(PATHS))
            run.log_metrics({"iou.mean": score, "images_per_s": 2.0})
            summary = {
                "status": status,
                "run_id": run.run_id,
                "dataset": {"name": "pairs", "root": "photos", "digest": digest},
                "weights": {"name": "w", "sha256": hash_file(self.weights)},
                "bgexp": {"version": "1", "source_hash": "s", "git_commit": None}
                | {"git_dirty": dirty},
                "counts": {"total": len(PATHS), "ok": len(PATHS), "failed": 0},
                "images_per_s": 2.0,
            }
            write_json(folder / "summary.json", summary)
            run.failed = status != "finished"
        return run.run_id

    def folder(self, run_id):
        client, _ = open_store(self.settings())
        return Path(client.get_run(run_id).data.tags["bgexp.folder"])


@pytest.fixture
def store(tmp_path, weights):
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes(weights.read_bytes())
    return Store(tmp_path, copy)


def get_refusal(store, *overrides):
    """Promote; return the one line that says why it was refused."""
    try:
        decision = store.promote(*overrides)
    except UserError as error:
        reason = str(error)
    else:
        reason = decision.refused
        assert decision.version is None
    assert reason
    assert "\n" not in reason
    return reason


def test_the_best_of_several_then_a_better_one_then_back(store):
    first = [store.add(score) for score in (0.7, 0.8, 0.75)]
    decision = store.promote(f"runs=[{','.join(first)}]")
    assert (decision.winner, store.version(), store.version("previous")) == (first[1], 1, None)
    assert "60 images with iou.mean; chosen on 42, confirmed on the other 18" in decision.lines[0]

    better = store.add(0.85)
    assert store.promote(f"run={better}", "dry_run=true").version is None
    assert store.version() == 1
    assert store.promote(f"run={better}").version.number == 2
    assert (store.version(), store.version("previous")) == (2, 1)

    assert store.promote("rollback=true", "dry_run=true").version is None
    assert store.version() == 2
    store.promote("rollback=true")
    assert (store.version(), store.version("previous")) == (1, 2)

    client, _ = open_store(store.settings())
    client.delete_registered_model_alias("bgexp", "champion")
    assert get_refusal(store, "rollback=true") == "rollback: bgexp has no champion"


def test_a_version_is_a_model_of_its_run_with_metrics_dataset_and_example(store):
    winner = store.add(0.8)
    store.promote(f"run={winner}")
    client, _ = open_store(store.settings())
    version = client.get_model_version_by_alias("bgexp", "champion")
    assert version.run_id == winner
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert (model.source_run_id, model.status, model.name) == (winner, "READY", "bgexp")
    numbers = {metric.key: (metric.value, metric.dataset_digest) for metric in model.metrics}
    assert numbers == {"iou.mean": (0.8, "d" * 32), "images_per_s": (2.0, "d" * 32)}
    run = client.get_run(winner)
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert len(client.get_metric_history(winner, "iou.mean")) == 1
    place = read_file_uri(model.artifact_location)
    (example,) = json.loads((place / "serving_input_example.json").read_text())["inputs"]
    (png,) = open_service(place / "artifacts" / "bundle")([example])
    assert Image.open(BytesIO(base64.b64decode(png))).size == (480, 360)


def test_a_rollback_that_was_killed_is_finished_and_not_done_twice(store, monkeypatch):
    for score in (0.7, 0.8):
        store.promote(f"run={store.add(score)}")
    with monkeypatch.context() as patch:
        patch.setattr("bgexp.promote.command.set_champion", kill_between_aliases)
        with pytest.raises(KeyboardInterrupt):
            store.promote("rollback=true")
    assert store.version() == store.version("previous") == 2
    assert "version 1 again" in store.promote("rollback=true").lines[-1]
    assert (store.version(), store.version("previous")) == (1, 2)


def kill_between_aliases(settings, version, change):
    with pytest.MonkeyPatch.context() as patch:
        set_alias = mlflow.MlflowClient.set_registered_model_alias

        def refuse_champion(client, name, alias, number):
            if alias == "champion":
                raise KeyboardInterrupt
            set_alias(client, name, alias, number)

        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", refuse_champion)
        set_champion(settings, version, change)


def test_a_run_that_is_no_worse_is_good_enough(store):
    store.promote(f"run={store.add(0.8)}")
    decision = store.promote(f"run={store.add(0.8)}")
    assert -0.005 < decision.numbers["low"] < decision.numbers["high"] < 0.005
    assert store.version() == 2


def test_refusals_for_what_a_run_is(store):
    champion = store.add(0.8)
    store.promote(f"run={champion}")
    assert "not enough better than bgexp version 1: iou.mean" in get_refusal(
        store, f"run={store.add(0.7)}"
    )
    assert "has these very settings" in get_refusal(store, f"run={champion}")
    assert "it is failed, not finished" in get_refusal(
        store, f"run={store.add(0.9, status='failed')}"
    )
    assert "in no commit" in get_refusal(store, f"run={store.add(0.9, dirty=True)}")
    other_run = store.add(0.9, digest="e" * 64)
    assert re.search(
        r"version 1 has no finished run over dataset eeee.*bgexp run model=bgexp@champion",
        get_refusal(store, f"run={other_run}"),
    )
    assert "different datasets" in get_refusal(store, f"runs=[{champion},{other_run}]")
    assert store.version() == 1


def test_another_dataset_counts_once_the_champion_ran_there(store):
    store.promote(f"run={store.add(0.8, 'seed=1')}")
    champion_run = store.add(0.5, "seed=1", digest="e" * 64)  # the champion's settings
    new = store.add(0.6, "seed=2", digest="e" * 64)
    decision = store.promote(f"run={new}")
    assert decision.version.number == 2
    assert champion_run[:8] in "".join(decision.lines)


def test_a_peer_is_not_promoted(store):
    run_id = store.add(0.9)
    folder = store.folder(run_id)
    with open_run(store.settings(), "run", "peer", folder) as run:
        run.log_params({"detector.name": "rembg"})
    assert "is a peer" in get_refusal(store, f"run={run.run_id}")


def test_without_truth_no_metric_exists(store):
    reason = get_refusal(store, f"run={store.add(float('nan'))}")
    assert "does not exist without truth" in reason
    assert "bgexp review" in reason
    assert "bgexp select" in reason


def test_conditions(store):
    slow, fast = store.add(0.9), store.add(0.8)
    client, _ = open_store(store.settings())
    client.log_metric(fast, "images_per_s", 4.0)
    decision = store.promote(f"runs=[{slow},{fast}]", "require='images_per_s>=3'")
    assert decision.winner == fast
    assert any("images_per_s>=3 does not hold" in line for line in decision.lines)
    assert "does not hold" in get_refusal(store, f"run={slow}", "require='images_per_s>=3'")
    assert "no run has such a number" in get_refusal(store, f"run={slow}", "require='speed>=3'")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("_target_", "os.system", r"detector\._target_: no such setting"),
        ("labels", ["${oc.env:HOME}"], r"labels.*the run had None"),
        ("score_threshold", 0.1, r"score_threshold: config.yaml says 0\.1, the run had 0\.6"),
    ],
)
def test_a_config_that_was_changed_afterwards(store, key, value, message):
    run_id = store.add(0.9)
    path = store.folder(run_id) / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["detector"][key] = value
    path.write_text(yaml.safe_dump(config))
    assert re.search(message, get_refusal(store, f"run={run_id}"))
    assert store.version() is None


def test_weights_that_are_others_by_now(store):
    run_id = store.add(0.9)
    data = bytearray(store.weights.read_bytes())
    data[-1] ^= 1
    store.weights.write_bytes(data)
    assert "is another file than the run's" in get_refusal(store, f"run={run_id}")


def find_promoted_file(store, name):
    client, _ = open_store(store.settings())
    place = client.get_model_version_download_uri("bgexp", str(store.version()))
    return read_file_uri(place) / "artifacts" / "bundle" / name


@pytest.mark.parametrize("name", [DETECTOR, SETTINGS])
def test_a_stored_model_that_was_changed_is_not_loaded(store, name):
    store.promote(f"run={store.add(0.8)}")
    path = find_promoted_file(store, name)
    data = bytearray(path.read_bytes())
    place = data.index(b"0.5") + 2 if name == SETTINGS else len(data) - 1
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="promoted"):
        fetch(store.settings(), "champion")


class PlantedModel:
    """An object whose pickle makes a file where it is read."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (Path.touch, (self.canary,))


def log_pickle(experiment, canary):
    """Log someone else's model, whose pickle holds `PlantedModel`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = type("Model", (mlflow.pyfunc.PythonModel,), {"predict": lambda *_: None})()
        model.planted = PlantedModel(canary)
        with mlflow.start_run(experiment_id=experiment):
            return mlflow.pyfunc.log_model(
                name="x", python_model=model, pip_requirements=["mlflow"]
            )


def test_a_pickle_of_someone_else_is_never_read(store, tmp_path):
    canary = tmp_path / "canary"
    client, experiment = open_store(store.settings())
    logged = log_pickle(experiment, canary)
    version = mlflow.register_model(logged.model_uri, "bgexp")
    client.set_registered_model_alias("bgexp", "champion", version.version)
    canary.unlink(missing_ok=True)
    run_id = store.add(0.9)
    assert "was not made by bgexp promote" in get_refusal(store, f"run={run_id}")
    settings = compose(RunSettings, "run", f"runs_dir={store.root / 'runs'}", "model=champion")
    with pytest.raises(UserError, match="was not made by bgexp promote, and is not loaded"):
        apply_model(settings)
    client.set_model_version_tag("bgexp", version.version, "bgexp.settings_sha256", "0" * 64)
    with pytest.raises(UserError, match="cannot be fetched"):
        fetch(store.settings(), "champion")
    assert not canary.exists()


def test_two_promotions_at_once_leave_one_champion(store):
    ids = [store.add(0.8), store.add(0.8)]
    failures, settings_of = [], {run_id: store.settings(f"run={run_id}") for run_id in ids}

    def promote_run(run_id):
        try:
            promote(settings_of[run_id], store.root / f"by {run_id}")
        except Exception as error:  # told below
            failures.append(error)

    threads = [threading.Thread(target=promote_run, args=(run_id,)) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {store.version(), store.version("previous")} == {1, 2}
    assert store.version() == 2


def test_killed_between_the_two_aliases_nothing_is_lost(store):
    store.promote(f"run={store.add(0.8)}")
    store.promote(f"run={store.add(0.9)}")
    client, _ = open_store(store.settings())
    client.set_registered_model_alias(
        "bgexp", "previous", "2"
    )  # as a killed set_champion() leaves it
    assert "no previous champion" in get_refusal(store, "rollback=true")
    set_champion(store.settings(), find_version(store.settings(), "1"))
    assert (store.version(), store.version("previous")) == (1, 2)


def votes(winner, loser, wins, losses):
    marked = [("left", n) for n in range(wins)] + [("right", wins + n) for n in range(losses)]
    return [
        Vote(image=PATHS[n % 60], left=winner, right=loser, choice=choice, judge="j")
        for choice, n in marked
    ]


def test_votes_choose_where_there_is_no_truth(store, monkeypatch):
    first, second = store.add(float("nan")), store.add(float("nan"))
    cast = []
    monkeypatch.setattr(
        judges, "read_votes", lambda _, ids: [v for v in cast if v.sides <= set(ids)]
    )
    runs = f"runs=[{first},{second}]"
    assert "nobody has voted" in get_refusal(store, runs, "metric=win_rate")
    store.promote(f"run={second}", "metric=win_rate")
    assert "nobody voted between them" in get_refusal(store, f"run={first}", "metric=win_rate")
    cast += votes(first, second, 16, 12)
    reason = get_refusal(store, f"run={first}", "metric=win_rate")
    assert "57%" in reason
    assert "above 50 %" in reason
    cast += votes(first, second, 30, 2)
    assert store.promote(f"run={first}", "metric=win_rate").version.number == 2


@pytest.mark.parametrize(
    ("reference", "number"),
    [("champion", 1), ("1", 1), ("bgexp/1", 1), ("bgexp@champion", 1), ("previous", None)],
)
def test_what_a_model_is_called(store, reference, number):
    store.promote(f"run={store.add(0.8)}")
    version = find_version(store.settings(), reference)
    assert (version and version.number) == number
    with nullcontext() if number else pytest.raises(UserError, match="nothing is registered as"):
        assert fetch(store.settings(), reference)[0].number == number


def test_a_store_that_went_away_is_no_missing_model(store, monkeypatch):
    """Else the champion would be replaced without being kept as the previous one."""

    def refuse(*_):
        raise mlflow.exceptions.MlflowException("it is away")

    first, second = store.add(0.8), store.add(0.9)
    store.promote(f"run={first}")
    version = find_version(store.settings(), "champion")
    monkeypatch.setattr(mlflow.MlflowClient, "get_model_version_by_alias", refuse)
    with pytest.raises(mlflow.exceptions.MlflowException, match="it is away"):
        set_champion(store.settings(), version)
    with pytest.raises(mlflow.exceptions.MlflowException, match="it is away"):
        store.promote(f"run={second}")
    monkeypatch.undo()
    assert store.version() == 1
