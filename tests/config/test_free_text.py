"""What people type as a path, a name or a text arrives as it was typed."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bgexp.config.command_line import write_command, write_override
from bgexp.config.compose import (
    compose_config,
    list_combinations,
    parse_overrides,
)
from bgexp.config.free_text import quote_free_text, unquote_free_text
from bgexp.config.load import load_settings
from bgexp.config.run import RunSettings
from bgexp.config.sweep import SweepSettings
from bgexp.errors import UserError

KINDS = [RunSettings, SweepSettings]
NAMES = [
    *("café", "e\u0301", "日本", "новая папка", "🐈", "\u202egpj", "caf\udce9"),
    *("photos (1)", "it's", "'tis", "R&D", "#best", "epoch=10", "a:b", 'a"b', '"a', "- x"),
    *("1e3", "007", ".5", "null", "NULL", "true", "nan", "inf", "1_000", "0x1F"),
    *("[a]", "[a", "{a:b}", "US$5", "${HOME}", "a${b", "$(id)", "`id`", "*", "?", "???", "50%"),
    *("a\\b", "dir\\", "!x", "a|b", "<a>", "@home", "^", "+", "a+b", "a\tb", "a\nb", "..."),
    *("~nosuchuser/x", "a/~", ".", "..", "-m", "--", "str(1)", "range(1"),
]
WITH_COMMAS = ["a,b", ",", "a, b", "choice(a,b)", "range(1,3)", "photos (1, 2", "'a','b'", "[a,b]"]
SPACED = [" lead", "trail ", " "]


def read(override, key="dataset.root", sweep=False):
    """The value that Hydra and OmegaConf make of an override, as composing does; quickly."""
    (quoted,) = quote_free_text(KINDS, [f"{key}={override}"], sweep)
    return resolve(quoted)


def resolve(override):
    (parsed,) = parse_overrides([override])
    assert not parsed.is_sweep_override()
    return OmegaConf.to_container(OmegaConf.create({"k": parsed.value()}), resolve=True)["k"]


def list_roots(typed):
    """The `dataset.root` of each job of a sweep; ours and Hydra's way to list them agree."""
    overrides = quote_free_text(KINDS, [f"dataset.root={typed}"], sweep=True)
    no_params = OmegaConf.create({"hydra": {"sweeper": {"params": None}}})
    ours = list_combinations(no_params, overrides)
    hydras = BasicSweeper.split_arguments(parse_overrides(overrides), None)[0]
    roots = [[resolve(job) for (job,) in jobs] for jobs in (ours, hydras)]
    assert roots[0] == roots[1]
    return roots[0]


def spell(name):
    return name.replace("???", "./???")  # OmegaConf's mark of what is missing


@pytest.mark.parametrize("name", NAMES + WITH_COMMAS + SPACED, ids=ascii)
def test_a_folder_is_called_as_it_was_typed(name):
    if name != "'a','b'":
        assert read(name) == spell(name)
    assert read(f"in/{name}") == f"in/{name}"


@pytest.mark.parametrize("name", ["café", "1e3", "null", "it's (1), #best", "${HOME}", "???"])
def test_a_setting_is_composed_as_it_was_typed(name):
    assert load_settings("analyze", [f"dataset.root={name}"]).dataset.root == Path(name)


@pytest.mark.parametrize("typed", ["'???'", '"???"', "[???]", "['???']", "???"])
def test_a_folder_called_like_a_missing_value(typed):
    assert load_settings("batch", [f"input={typed}", "output=o"]).input == (Path("???"),)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_folder_in_a_sweep(name):
    assert list_roots(name) == [spell(name)]
    assert list_roots(f"{name},b") == [spell(name), "b"]


@pytest.mark.parametrize(
    ("typed", "roots"),
    [
        ("a,b", ["a", "b"]),
        ("a, photos (1, 2) ,it's", ["a", "photos (1, 2)", "it's"]),
        ("'a,b'", ["a,b"]),
        ("'a,b',\"c,d\"", ["a,b", "c,d"]),
        ("choice(café,b c)", ["café", "b c"]),
        ("photos (1, 2", ["photos (1", "2"]),
        ("sort(b,a)", ["a", "b"]),
        ("1,2", ["1", "2"]),
    ],
)
def test_several_folders_of_a_sweep(typed, roots):
    assert list_roots(typed) == roots


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@settings(max_examples=40)
@given(TEXT)
def test_any_text(text):
    quoted = quote_free_text(KINDS, [f"tracking.experiment={text}"])
    assert quote_free_text(KINDS, quoted) == quoted
    again = write_override("run", "tracking.experiment", text)
    assert resolve(*quote_free_text(KINDS, [again])) == spell(text)
    if not set(text) & set("'\"${"):
        assert resolve(*quoted) == spell(text)


@settings(max_examples=40)
@given(st.lists(TEXT, max_size=4))
def test_a_list_of_any_texts(words):
    texts = [
        text for word in words if (text := word.strip()) and not set(text) & set(",'\"[](){}$")
    ]
    assert read(f"[{','.join(texts)}]", "sweep.objectives") == [
        int(text) if re.fullmatch(r"-?[0-9]+", text) else spell(text) for text in texts
    ]


def test_what_keeps_its_meaning(monkeypatch):
    monkeypatch.setenv("PLACE", "there")
    monkeypatch.setenv("HOME", "/home/me")
    load = load_settings
    assert load("run", ["tracking.uri=null"]).tracking.uri is None
    assert load("run", ["tracking.uri='null'"]).tracking.uri == "null"
    assert str(load("run", ["runs_dir=null"]).runs_dir) == "null"  # it cannot be without
    assert str(load("run", ["runs_dir='a b'"]).runs_dir) == "a b"
    assert str(load("run", ['runs_dir="a b"']).runs_dir) == "a b"
    assert str(load("run", ["runs_dir=${oc.env:PLACE}/a b"]).runs_dir) == "there/a b"
    assert load("run", ["tracking.experiment=${runs_dir} é"]).tracking.experiment == "runs é"
    assert str(load("run", ["runs_dir=~/a b"]).runs_dir) == "/home/me/a b"
    assert load("run", ["model=1"]).model == "1"
    detector = ["detector=maskrcnn_resnet50_fpn"]
    labels = "detector.labels=[1,fire hydrant,'a,b',café]"
    assert load("run", [*detector, labels]).detector.labels == (1, "fire hydrant", "a,b", "café")
    assert load("run", [*detector, "detector.labels=null"]).detector.labels is None
    assert load("run", [*detector, "detector.weights=~/w.pth"]).detector.weights == "/home/me/w.pth"
    assert load("run", ["cutout.background=#ff8000"]).cutout.background == "#ff8000"
    assert load("batch", ["input=a", "output=b", "max_failed=5%"]).max_failed == 0.05
    pairs = ["dataset=pairs", "dataset.images=a b", "dataset.masks=c,d"]
    values = "dataset.mask_values=[#800000,2]"
    assert load("run", [*pairs, values]).dataset.mask_values == ("#800000", 2)
    real = ["dataset=mixed", "dataset.real.people.root=my photos"]
    composites = ("cutouts", "backgrounds", "validation_cutouts", "validation_backgrounds")
    real += [f"dataset.{key}=x" for key in composites]
    assert str(load("train", real).dataset.real["people"].root) == "my photos"


def test_home_where_the_config_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nruns_dir: ~/runs\n"
    (tmp_path / "experiment/1e3 (é).yaml").write_text(text)
    overrides = quote_free_text(KINDS, ["experiment=1e3 (é)"])
    config = compose_config("run", overrides, tmp_path)
    assert config.hydra.run.dir.startswith("/home/me/runs/run/")
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        config = compose_config("run", quote_free_text(KINDS, [f"{key}=~/x y"]), None)
        assert config.hydra[key.split(".")[1]].dir == "/home/me/x y"


@pytest.mark.parametrize("key", ["input", "output", "runs_dir", "quality.metadata"])
def test_an_empty_path_is_none(key):
    others = [o for o in ("input=a", "output=b") if not o.startswith(key)]
    with pytest.raises(UserError, match=rf"^{key}: a path is needed \(got ''\)$"):
        load_settings("batch", [*others, f"{key}="])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=é", "seed: Input should be a valid integer.* got 'é'"),
        ("refine=café", "refine: no such choice: 'café' .allowed: grabcut"),
        ("refine=5", "refine: no such choice: '5'"),
        ("refine=[a", r"refine: no such choice: '\[a'"),
        ("a b=c", "a b: no such setting"),
        ("café=x", "café: no such setting"),
        ("@=1", "@: no such setting"),
        ("=1", "=1: a setting is given as key=value"),
        ("~/photos", "/photos: no such setting"),
        ("detector.labels=[a,b", r"detector.labels: Input should be a valid tuple .got '\[a,b'"),
        ("device=photos (1)", "device: Input should be 'auto'.* got 'photos .1.'"),
        ("dataset={a", "dataset: no such choice"),
        ("tracking=1e3", "tracking: no such choice: '1e3'"),
        ("experiment=5", "experiment: no such choice: '5'"),
    ],
)
def test_hydras_grammar_reaches_nobody(override, message):
    with pytest.raises(UserError, match=message.replace(".* got", r".*got")) as caught:
        load_settings("run", [override])
    assert "\n" not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("token", "viable", "mismatched", "EOF"))


def test_what_is_shown_is_what_was_typed():
    for word in ("runs_dir=a b", "tracking.experiment=café", "model='null'", "seed=1", "refine=x"):
        (quoted,) = quote_free_text(KINDS, [word])
        assert unquote_free_text(KINDS, quoted) == word
    for word in ("runs_dir='a,b'", "runs_dir=' a'", "runs_dir='\\'a\\''", "seed='1'"):
        assert unquote_free_text(KINDS, word) == word


def test_a_printed_command_means_the_same():
    names = [*NAMES, *WITH_COMMAS, *SPACED]
    usual = load_settings("run")
    lines = [
        write_command("compare", [name], usual.replace(runs_dir=f"in/{name}")) for name in names
    ]
    assert not any("\n" in line for line in lines)
    script = "\n".join(["bgexp() { printf '%s\\0' \"$@\"; }", *lines])
    run = subprocess.run(["bash"], input=os.fsencode(script), capture_output=True, check=True)
    words = iter(map(os.fsdecode, run.stdout.split(b"\0")[:-1]))
    for name in names:
        assert (next(words), next(words)) == ("compare", name)
        assert Path(read(next(words).removeprefix("runs_dir="), "runs_dir")) == Path(f"in/{name}")


def test_a_printed_command_is_short_where_nothing_is_special(tmp_path):
    settings = load_settings("run")
    assert write_command("compare", ["4f3a"], settings) == "bgexp compare 4f3a"
    elsewhere = ["runs_dir=r", "tracking.experiment=my trials", "tracking.uri=http://h:5"]
    line = write_command("run", ["seed=1"], load_settings("run", elsewhere), tmp_path / "a b")
    assert line == (
        f"bgexp run --config-dir '{tmp_path}/a b' seed=1 runs_dir=r "
        "tracking.uri=http://h:5 'tracking.experiment=my trials'"
    )
