"""A model that is not there, told from one that may not be read and from a store that is away."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
)

from bgexp.config.base import Common, Tracking
from bgexp.tracking.registry import (
    CHAMPION,
    PREVIOUS,
    PROMOTING,
    RETURNING,
    Version,
    _is_model_missing,
    _lookup,
    find_version,
    finish_change,
    set_champion,
)
from bgexp.tracking.store import open_store


def make_client(error_code, listed=()):
    def refuse(*_):
        raise MlflowException("no", error_code)

    return SimpleNamespace(
        get_model_version_by_alias=refuse,
        get_registered_model=refuse,
        search_registered_models=lambda where: list(listed) if where == "name = 'bgexp'" else None,
    )


@pytest.mark.parametrize("code", [RESOURCE_DOES_NOT_EXIST, PERMISSION_DENIED])
def test_a_model_that_is_not_there(code):
    """A server with users answers with the second."""
    client = make_client(code)
    assert _lookup(client, "bgexp", "champion", "") is None
    assert _is_model_missing(client, "bgexp")


@pytest.mark.parametrize(("code", "listed"), [(INTERNAL_ERROR, ()), (PERMISSION_DENIED, ["it"])])
def test_a_model_that_cannot_be_read_is_not_missing(code, listed):
    client = make_client(code, listed)
    with pytest.raises(MlflowException, match="no"):
        _lookup(client, "bgexp", "champion", "")
    with pytest.raises(MlflowException, match="no"):
        _is_model_missing(client, "bgexp")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    runs = tmp_path_factory.mktemp("registry") / "runs"
    return Common(runs_dir=runs, tracking=Tracking(), seed=0, device="cpu")


class Killed(BaseException):
    """The end of a process between two calls of the store."""


@pytest.mark.parametrize("step", range(5))
@pytest.mark.parametrize("change", [PROMOTING, RETURNING])
def test_a_change_of_the_champion_that_was_killed_anywhere_is_finished(
    settings, monkeypatch, change, step
):
    client, _ = open_store(settings)
    name = f"model-{change}-{step}"
    client.create_registered_model(name)
    versions = [Version(name, number, "", "") for number in range(1, 4)]
    for _ in versions:
        client.create_model_version(name, "file:///nowhere", await_creation_for=0)
    for version in versions[:2]:
        set_champion(settings, version)
    aim = versions[2] if change == PROMOTING else versions[0]
    with monkeypatch.context() as patch:
        steps = kill_at_step(patch, step)
        with nullcontext() if step == 4 else pytest.raises(Killed):
            set_champion(settings, aim, change)
    assert steps == list(range(step if step == 4 else step + 1))

    def find(alias):
        version = find_version(settings, f"{name}@{alias}")
        return version and version.number

    assert find(CHAMPION) in (2, aim.number)  # always one
    assert finish_change(settings, name) == (change if 0 < step < 4 else "")
    expected = (2, 1) if step == 0 else (aim.number, 2)
    assert (find(CHAMPION), find(PREVIOUS)) == expected
    assert (find(PROMOTING), find(RETURNING)) == (None, None)


def kill_at_step(patch, step):
    """Count the changes of aliases into the list that is returned, and kill at one of them."""
    steps = []

    def patch_step(name):
        call = getattr(MlflowClient, name)

        def count(client, *names):
            steps.append(len(steps))
            if steps[-1] == step:
                raise Killed
            call(client, *names)

        patch.setattr(MlflowClient, name, count)

    patch_step("set_registered_model_alias")
    patch_step("delete_registered_model_alias")
    return steps
