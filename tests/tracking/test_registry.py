"""A model that is not there, told from one that may not be read and from a store that is away."""

from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
)

from bgexp.tracking.registry import _is_model_missing, _lookup


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
