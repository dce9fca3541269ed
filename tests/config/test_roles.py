"""Roles are marked at the fields; identity, names and cache keys derive from them."""

import pytest
from pydantic import ValidationError

from bgexp.config.batch import BatchSettings
from bgexp.config.load import load_settings
from bgexp.config.pipeline import STAGES
from bgexp.config.roles import NOT_RESULT, Role, dump_without, find_keys
from bgexp.config.run import RunSettings


@pytest.mark.parametrize(
    ("kind", "role", "keys"),
    [
        (RunSettings, Role.SELECTION, "labels score_fallback score_threshold"),
        (RunSettings, Role.SAMPLES, "samples"),
        (
            RunSettings,
            Role.LOCATION,
            "annotations follow_links images masks root detector.model detector.path "
            "detector.weights model refine.weights",
        ),
        (
            RunSettings,
            Role.EXECUTION,
            "cache.max_gb device engine.address engine.cpus engine.gpus engine.max_workers "
            "engine.min_workers engine.name max_failed workers",
        ),
        (
            RunSettings,
            Role.BOOKKEEPING,
            "score_floor force runs_dir tracking.experiment tracking.uri",
        ),
        (
            BatchSettings,
            Role.EXECUTION,
            "device engine.account engine.address engine.cpus engine.gpus engine.hours "
            "engine.max_workers engine.memory_gb engine.min_workers engine.name engine.partition "
            "engine.qos engine.tasks max_failed part timeout_s workers",
        ),
        (
            BatchSettings,
            Role.BOOKKEEPING,
            "score_floor dry_run moved_input output overwrite runs_dir tracking.experiment "
            "tracking.uri",
        ),
    ],
)
def test_the_role_of_each_setting(kind, role, keys):
    sections = dict.fromkeys(("labels", "score_fallback", "score_threshold", "score_floor"))
    full = {
        f"detector.{key}"
        if key in sections
        else f"dataset.{key}"
        if key in ("annotations", "follow_links", "images", "masks", "root")
        else key
        for key in keys.split()
    }
    assert find_keys(kind, role) == full


def test_stages_are_what_decides_the_result_of_an_image():
    assert set(STAGES) == {"seed", "detector", "combine", "refine", "cutout"}


def test_what_is_left_out_is_left_out_at_every_depth():
    settings = load_settings("run", ["dataset=folder", "dataset.root=/a", "detector.weights=/b"])
    dumped = dump_without(settings, *NOT_RESULT)
    assert dumped.keys() == {*STAGES, "dataset", "samples"}
    assert dumped["dataset"] == {"name": "folder", "subset": None, "max_megapixels": 200}
    assert "weights" not in dumped["detector"]
    assert "score_floor" not in dumped["detector"]
    assert dump_without(settings) == settings.model_dump(mode="json")


def test_what_is_left_out_is_left_out_of_sections_named_by_the_user():
    real = ["dataset.real.people.root=/a", "dataset.real.people.coarse=/b"]
    settings = load_settings("train", ["dataset=mixed", *real])
    dumped = dump_without(settings, Role.LOCATION)["dataset"]
    sets = {"people": {"weight": 1, "max_megapixels": 200}}
    assert dumped == {"name": "mixed", "real_share": 0.45, "pasted_share": 0.0, "real": sets}


def test_other_values_are_checked():
    settings = load_settings("run")
    assert settings.replace(samples=3).samples == 3
    assert settings.replace(samples=3).detector == settings.detector
    with pytest.raises(ValidationError, match="no_such"):
        settings.replace(no_such=3)
    with pytest.raises(ValidationError, match="samples"):
        settings.replace(samples=-1)
