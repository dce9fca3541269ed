"""Hydra's grammar to Optuna's distributions, and back to overrides that compose."""

from types import SimpleNamespace

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, parse_overrides, resolve_config
from bgexp.config.run import RunSettings
from bgexp.errors import UserError
from bgexp.sweep.optuna_space import read_space


def space_of(*overrides, stored=None):
    return read_space(
        SimpleNamespace(hydra=SimpleNamespace(sweeper=SimpleNamespace(params=stored))), overrides
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("refine=none,unet", CategoricalDistribution(["none", "unet"])),
        ("refine=choice(none,unet)", CategoricalDistribution(["none", "unet"])),
        ("x=0.5,0.7,0.5", CategoricalDistribution(["0.5", "0.7"])),
        ("x='a b',[1,2]", CategoricalDistribution(["'a b'", "[1,2]"])),
        ("x=range(1,5)", IntDistribution(1, 4)),
        ("x=range(9,1,-2)", IntDistribution(3, 9, step=2)),
        ("x=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("x=shuffle(range(2,3))", CategoricalDistribution(["2"])),
        ("x=interval(1,5)", FloatDistribution(1.0, 5.0)),
        ("x=int(interval(1,5))", IntDistribution(1, 5)),
        ("x=tag(int,interval(1,5))", IntDistribution(1, 5)),
        ("x=tag(log,interval(0.001,1))", FloatDistribution(0.001, 1.0, log=True)),
        ("x=tag(int,log,interval(1,64))", IntDistribution(1, 64, log=True)),
    ],
)
def test_what_is_chosen_from(overrides, expected):
    space = space_of("seed=1", overrides, "sweep=optuna", "sweep.trials=3")
    assert space.fixed == ("seed=1",)
    assert dict(space.free) == {overrides.partition("=")[0]: expected}


def test_an_experiment_may_sweep_by_itself():
    space = space_of("x=1", stored={"detector.score_threshold": "interval(0.1,0.2)"})
    assert dict(space.free) == {"detector.score_threshold": FloatDistribution(0.1, 0.2)}


@pytest.mark.parametrize(
    "overrides",
    [
        "x=interval(0.9,0.2)",
        "x=tag(log,interval(0,1))",
        "x=tag(int,log,interval(0,5))",
        "x=range(3,3)",
    ],
)
def test_what_nothing_can_be_chosen_from(overrides):
    with pytest.raises(UserError, match=r"^x=.*: no values to choose from \(.+\)$") as refused:
        space_of(overrides)
    assert "\n" not in str(refused.value)


def test_a_sweep_of_nothing():
    with pytest.raises(UserError, match="nothing to choose"):
        space_of("seed=1")


def test_corners_are_each_end_and_choice_with_the_first_of_the_others():
    space = space_of("seed=1", "a=interval(0.25,0.5)", "b=x,y,z", "c=range(1,4)")
    assert space.list_corners() == [
        ["seed=1", "a=0.25", "b=x", "c=1"],
        ["seed=1", "a=0.5", "b=x", "c=1"],
        ["seed=1", "a=0.25", "b=y", "c=1"],
        ["seed=1", "a=0.25", "b=z", "c=1"],
        ["seed=1", "a=0.25", "b=x", "c=3"],
    ]


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-9, 1e6), share=st.floats(0, 1))
def test_a_number_has_four_digits_and_stays_inside(low, width, share):
    high = low + width
    value = min(max(low + share * width, low), high)
    [text] = space_of(f"x=interval({low!r},{high!r})").make_overrides({"x": value})
    [written] = parse_overrides([text])
    got = float(written.value())
    slack = 1e-9 * max(abs(low), abs(high))  # ten digits of an end
    assert low - slack <= got <= high + slack
    assert abs(got - value) <= 0.5001e-3 * abs(value) + slack


def test_what_optuna_proposes_composes():
    config = compose_config("run", ["sweep=optuna"], None)
    swept = [
        "detector.score_threshold=interval(0.2,0.9)",
        "refine=none,unet",
        "dataset.subset=2",
    ]
    space = read_space(config, [*swept, "detector.image_size=range(256,385,64)"])
    study = optuna.create_study()
    for _ in range(3):
        overrides = space.make_overrides(study.ask(dict(space.free)).params)
        settings = check_settings(
            RunSettings, resolve_config(compose_config("run", overrides, None))
        )
        assert 0.2 <= settings.detector.score_threshold <= 0.9
        assert settings.refine.name in ("none", "unet")
        assert settings.detector.image_size in (256, 320, 384)
        assert settings.dataset.subset == 2
