import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.config.batch import BatchSettings
from bgexp.config.load import SETTINGS, load_settings, write_overrides
from bgexp.config.run import RunSettings
from bgexp.errors import UserError


def test_settings_are_those_of_the_command_line():
    assert isinstance(load_settings(), RunSettings)
    settings = load_settings("batch", ["input=a", "output=b", "refine=guided"])
    assert isinstance(settings, BatchSettings)
    assert settings.refine.name == "guided"
    assert load_settings("run", ["seed=3"]).seed == 3


def test_settings_of_ones_own(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert load_settings("run", ["experiment=mine"], tmp_path).seed == 7


def test_no_such_command():
    with pytest.raises(UserError, match=r"no such command: 'tune' .allowed: run, compare, "):
        load_settings("tune")
    assert "autotune" in SETTINGS


@given(
    st.floats(0, 1), st.integers(0, 2**31 - 1), st.text(st.characters(codec="utf-8"), min_size=1)
)
def test_values_arrive_as_they_were_given(threshold, seed, name):
    wanted = {"seed": seed, "detector": {"name": "demo", "score_threshold": threshold}}
    wanted |= {"tracking": {"experiment": name, "uri": None}, "force": True}
    settings = load_settings("run", write_overrides(wanted))
    assert (settings.seed, settings.detector.score_threshold) == (seed, threshold)
    assert (settings.tracking.experiment, settings.tracking.uri) == (name, None)
    assert settings.force


def test_lists_and_the_choice_of_a_section():
    overrides = write_overrides({"detector": {"name": "demo", "labels": ["object"]}})
    assert overrides == ["detector=demo", "detector.labels=['object']"]
    assert load_settings("run", overrides).detector.labels == ("object",)
