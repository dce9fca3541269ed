"""The container files: no password in them, nothing published beyond this machine, no root."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SECRET = re.compile("PASSWORD|SECRET|KEY")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_secrets_come_from_the_environment_and_must_be_given(name):
    for key, value in COMPOSE["services"][name].get("environment", {}).items():
        if SECRET.search(key):
            assert re.fullmatch(r'"?(\$\{\w+:\?[^}]+\},?)+"?', value), key


def test_only_the_server_is_published_and_only_here():
    ports = {name: service.get("ports", []) for name, service in COMPOSE["services"].items()}
    assert ports == {"postgres": [], "objects": [], "tracking": ["127.0.0.1:${PORT:-5000}:5000"]}


def test_images_run_without_rights():
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[2:]
    assert [stage.split()[2] for stage in stages] == ["tracking", "bgexp"]
    for stage in stages:
        users = re.findall(r"^USER (.*)$", stage, re.MULTILINE)
        assert users[-1:] == ["bgexp"]
        assert stage.index("\nUSER") < stage.index("\nENTRYPOINT")


def test_what_the_images_copy_is_not_ignored():
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert all((ROOT / path).exists() for path in kept)
    assert {"bgexp", "cluster", "conf", "requirements.txt"} <= kept
