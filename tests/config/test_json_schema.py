"""The schemas that editors read: of today's settings, and of the files that ship."""

import json

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from referencing import Registry, Resource

from bgexp.cli.main import COMMANDS, main
from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.json_schema import build_files

SCHEMAS = find_conf_dir() / "schemas"
FILES = [path for path in sorted(find_conf_dir().rglob("*.yaml")) if path.stem != "hydra_runs"]
REGISTRY = Registry().with_resources(
    (path.name, Resource.from_contents(json.loads(path.read_text())))
    for path in SCHEMAS.glob("*.json")
)
LINE = "# yaml-language-server: $schema="


def is_valid(name, config):
    validator = Draft202012Validator({"$ref": f"{name}.json"}, registry=REGISTRY)
    return validator.is_valid(config)


def test_the_files_are_those_of_the_settings():
    """`python -m bgexp.config.json_schema` writes them anew."""
    assert {path.name: path.read_text() for path in SCHEMAS.iterdir()} == build_files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_that_ships_names_its_schema_and_fits_it(path):
    (line,) = [line for line in path.read_text().splitlines()[:2] if line.startswith(LINE)]
    schema = (path.parent / line.removeprefix(LINE)).resolve()
    assert schema.parent == SCHEMAS
    assert is_valid(schema.stem, OmegaConf.to_container(OmegaConf.load(path)))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("run", {"sed": 1}),
        ("run", {"detector": {"score_threshold": 2}}),
        ("run", {"detector": {"score_treshold": 0.5}}),
        ("run", {"device": "gpu"}),
        ("batch", {"format": "gif"}),
        ("batch", {"max_failed": "two"}),
        ("batch", {"part": "3 of 4"}),
        ("refine", {"name": "guided", "bandd": 1}),
        ("engine", {"name": "dask"}),
    ],
)
def test_what_is_wrong_does_not_fit(name, config):
    assert not is_valid(name, config)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("run", {"detector": {"score_threshold": 0.5}}),
        ("run", {"detector": {"score_threshold": "${seed}"}, "model": 3}),
        ("batch", {"max_failed": "2%", "part": "3/64", "input": ["a", "b"], "output": "???"}),
        ("batch", {"defaults": [{"override /refine": "guided"}], "hydra": {"mode": "RUN"}}),
    ],
)
def test_what_is_right_fits(name, config):
    assert is_valid(name, config)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_schema_is_printed(capsys, command):
    assert main(["schema", command]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"bgexp {command}"


def test_no_such_schema(capsys):
    assert main(["schema", "nothing"]) == 2
    assert "schema: give one of run, " in capsys.readouterr().err
