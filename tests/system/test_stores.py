"""Object stores, by a real server that speaks S3."""

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from bgexp.system import stores
from bgexp.system.stores import (
    Address,
    StoreError,
    create_object,
    delete_object,
    find_object,
    forget_stores,
    open_object,
    read_object,
    read_place,
    spool_object,
    walk_objects,
    write_object,
)

# Object stores take others, too; none of obstore's clients does.
NAMES = st.text("ab .-_#?%+&=~'()äß☃", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and name.strip() == name
)


def test_the_parts_of_an_address():
    address = Address("s3://photos/2024/a#1?b%20c.jpg")
    assert (address.bucket, address.key) == ("s3://photos", "2024/a#1?b%20c.jpg")
    assert address.name == "a#1?b%20c.jpg"
    assert Address("gs://photos") / "x" == "gs://photos/x"
    assert Address("gs://photos").key == ""


@pytest.mark.parametrize("text", ["s3://photos", "gs://photos/a b/c", "az://photos/a/"])
def test_a_text_that_is_an_address(text):
    place = read_place(text)
    assert isinstance(place, Address)
    assert place == text.rstrip("/")


@pytest.mark.parametrize("text", ["photos", "s3:/photos", "s3://", "http://photos/x", "/s3://a", 3])
def test_what_is_none_stays(text):
    assert read_place(text) is text
    assert not isinstance(read_place(text), Address)


@pytest.mark.parametrize("text", ["s3://key:secret@photos/x", "az://secret@photos"])
def test_an_address_holds_no_credentials(text):
    with pytest.raises(PydanticCustomError, match="without credentials") as error:
        read_place(text)
    assert "secret" not in str(error.value)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, data=st.binary(max_size=300))
def test_a_round_trip_under_any_name(bucket, name, data):
    address = bucket / "names" / name
    write_object(address, data)
    content, found = read_object(address)
    assert content == data
    assert (found.key, found.size) == (address.key, len(data))
    assert found in list(walk_objects(bucket / "names"))
    assert find_object(address) == found
    delete_object(address)
    assert find_object(address) is None
    delete_object(address)  # gone already


def test_another_content_is_another_version(bucket):
    write_object(bucket / "a", b"1")
    before = find_object(bucket / "a")
    write_object(bucket / "a", b"2")
    assert find_object(bucket / "a").version != before.version


def test_of_two_who_create_one_does(bucket):
    assert create_object(bucket / "lock", b"first")
    assert not create_object(bucket / "lock", b"second")
    assert read_object(bucket / "lock")[0] == b"first"


def test_a_listing_is_in_the_order_of_the_keys_and_goes_on_behind_one(bucket):
    names = ["a-b/x", "a/x", "a/y", "ab", "b/c/d", "ä"]
    for name in reversed(names):
        write_object(bucket / name, b"")
    keys = [found.key.removeprefix(f"{bucket.key}/") for found in walk_objects(bucket)]
    assert keys == names
    after = [found.key for found in walk_objects(bucket, after=(bucket / "a/x").key)]
    assert after == [(bucket / name).key for name in names[2:]]
    assert [found.key for found in walk_objects(bucket / "a")] == [
        (bucket / name).key for name in ("a/x", "a/y")
    ]


def test_a_large_object_is_read_in_pieces(bucket):
    data = os.urandom(400_000)
    write_object(bucket / "large", data)
    with open_object(bucket / "large", len(data), piece=1000) as file:
        assert file.read(10) == data[:10]
        assert file.seek(399_990) == file.tell() == 399_990
        assert file.read() == data[-10:]
        file.seek(-20, os.SEEK_END)
        assert file.read(5) == data[-20:-15]


def test_pieces_become_an_object_at_the_end_or_never(bucket):
    with spool_object(bucket / "pieces") as file:
        file.write(b"1")
        assert find_object(bucket / "pieces") is None
        file.write(b"2")
    assert read_object(bucket / "pieces")[0] == b"12"
    with pytest.raises(ZeroDivisionError), spool_object(bucket / "none") as file:
        file.write(bytes([1 // 0]))
    assert find_object(bucket / "none") is None


# -- errors --------------------------------------------------------------------------------------


def test_no_object_and_no_bucket(bucket):
    with pytest.raises(FileNotFoundError, match="no such object"):
        read_object(bucket / "none")
    assert list(walk_objects(bucket / "none")) == []
    for call in (read_object, lambda address: list(walk_objects(address))):
        with pytest.raises(StoreError) as error:
            call(Address("s3://other/x"))
        assert error.value.filename == "s3://other/x"
        assert error.value.strerror == "no such bucket"


@pytest.mark.parametrize("keys", ["reader", "wrong"])
def test_a_user_without_rights(bucket, object_store, monkeypatch, keys):
    write_object(bucket / "a", b"1")
    for name, value in object_store.reader_environment.items():
        monkeypatch.setenv(name, value)
    if keys == "wrong":
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    forget_stores()
    with pytest.raises(StoreError, match=r"Access Denied|another secret key") as error:
        write_object(bucket / "a", b"2")
    assert "secret/" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_that_is_away_is_told_soon_where_that_is_asked_for(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_stores()
    start = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"):
        find_object(bucket / "a", patiently=False)
    assert time.monotonic() - start < 20


def test_a_name_that_no_client_reads_is_told(bucket, object_store):
    import boto3

    client = boto3.client("s3", endpoint_url=object_store.address)
    client.put_object(Bucket="photos", Key=f"{bucket.key}/x\x01.jpg", Body=b"")
    with pytest.raises(StoreError, match="invalid path") as error:
        list(walk_objects(bucket))
    assert "\x01" not in str(error.value)


def test_one_process_one_connection(bucket, monkeypatch):
    write_object(bucket / "a", b"1")
    before = stores._connect(bucket.bucket)
    assert stores._connect(bucket.bucket) is before
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as after a fork
    assert stores._connect(bucket.bucket) is not before
