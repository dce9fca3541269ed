from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from bgexp.system.addresses import (
    make_artifact_name,
    make_file_uri,
    make_sqlite_uri,
    read_file_uri,
)

NAMES = ["a b", "a%20b", "a%2520b", "who?", "a#1", "a@b:c", "café", "50%", "a&b=c;d", "a+b", "[x]"]
TEXT = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("name", NAMES)
def test_an_address_leads_to_its_path(name):
    path = Path("/", name, "mlflow.db")
    assert make_url(make_sqlite_uri(path)).database == str(path)
    assert not make_url(make_sqlite_uri(path)).query
    assert read_file_uri(make_file_uri(path)) == path


@given(TEXT.filter(lambda name: name not in (".", "..")))
def test_any_address_leads_to_its_path(name):
    assert make_url(make_sqlite_uri(Path("/", name))).database == f"/{name}"
    assert read_file_uri(make_file_uri(Path("/", name))) == Path("/", name)


def test_an_address_elsewhere_has_no_path():
    assert read_file_uri("mlflow-artifacts:/1/a") is None
    assert read_file_uri("s3://bucket/a") is None


@given(TEXT, TEXT)
def test_an_artifact_name_needs_no_escape_and_is_unique(one, other):
    assert not set(make_artifact_name(one)) & set("#?%\\\n")
    assert (make_artifact_name(one) == make_artifact_name(other)) == (one == other)


def test_a_plain_name_stays():
    assert make_artifact_name("01-café & co (2).png") == "01-café & co (2).png"
