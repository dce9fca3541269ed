"""What the components promise the other tests: they keep what they got, and refuse strangers."""

import os
import subprocess
import sys
import threading
from time import monotonic, sleep

import psutil
import pytest

from cluster.object_store import ObjectStore
from cluster.postgres import Postgres
from cluster.service import SetupError, answers, find_program, read_secret
from cluster.slurm import Slurm

pytestmark = pytest.mark.cluster


def wait_until(condition, seconds=60):
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end
        sleep(0.1)


# -- every service ---------------------------------------------------------------------------


def test_nothing_is_left_running(tmp_path):
    with ObjectStore(tmp_path / "store", ("key", "secret")) as store:
        processes = store._list_processes()
        assert answers(store.port)
    assert processes
    assert not any(process.is_running() for process in processes)
    assert not answers(store.port)


def test_nothing_is_left_running_by_a_process_that_was_killed(tmp_path):
    script = (
        "from pathlib import Path; from time import sleep; from cluster.object_store import *\n"
        f"with ObjectStore(Path('{tmp_path}/store'), ('key', 'secret')) as store:\n"
        "    print(store.port, flush=True); sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as starter:
        port = int(starter.stdout.readline())
        assert answers(port)
        starter.kill()
    wait_until(lambda: not answers(port), seconds=10)


def test_a_port_that_is_taken_is_told(object_store, tmp_path):
    with (
        pytest.raises(SetupError, match=f"port {object_store.port} of 127.0.0.1 is taken"),
        ObjectStore(tmp_path / "store", ("key", "secret"), port=object_store.port),
    ):
        pass


@pytest.mark.parametrize("secret", [None, "", "short", "password1234", "minioadmin"])
def test_secrets_that_anyone_could_guess(monkeypatch, secret):
    monkeypatch.delenv("BGEXP_TEST_SECRET", raising=False)
    if secret is not None:
        monkeypatch.setenv("BGEXP_TEST_SECRET", secret)
    with pytest.raises(SetupError, match="BGEXP_TEST_SECRET is "):
        read_secret("BGEXP_TEST_SECRET")


def test_a_program_that_is_not_installed():
    with pytest.raises(SetupError, match=r"no-such-program .*make cluster-setup"):
        find_program("no-such-program")


# -- PostgreSQL ------------------------------------------------------------------------------


def connect(server: Postgres, **changes: str):
    import psycopg

    client = server.client_environment
    login = {"user": client["PGUSER"], "password": client["PGPASSWORD"], **changes}
    return psycopg.connect(server.make_address("kept"), **login)


def test_a_database_outlives_a_kill(postgres):
    import psycopg

    postgres.create_database("kept")
    postgres.create_database("kept")  # which changes nothing
    with connect(postgres) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT 7 AS number")
    postgres.restart()
    with connect(postgres) as connection:
        assert connection.execute("SELECT number FROM numbers").fetchall() == [(7,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(postgres, password="another")


def test_the_password_is_in_no_file_and_no_process(postgres):
    password = postgres.client_environment["PGPASSWORD"].encode()
    files = [path for path in postgres.folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert not [path for path in files if password in path.read_bytes()]
    assert not [p for p in psutil.process_iter() if password.decode() in " ".join(_arguments(p))]


def _arguments(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


# -- S3 --------------------------------------------------------------------------------------


def make_client(store: ObjectStore, environment=None, **changes: str):
    import boto3
    from botocore.config import Config

    keys = environment or store.client_environment
    return boto3.client(
        "s3",
        endpoint_url=store.address,
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        config=Config(retries={"max_attempts": 1}),
        **{"aws_secret_access_key": keys["AWS_SECRET_ACCESS_KEY"], **changes},
    )


def refuse(call) -> str:
    """The code with which S3 refuses a call."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as info:
        call()
    return info.value.response["Error"]["Code"]


def test_an_object_is_put_once_and_outlives_a_kill(object_store):
    client = make_client(object_store)
    outcomes = []

    def put(number):
        try:
            client.put_object(Bucket="bgexp", Key="lock", Body=b"%d" % number, IfNoneMatch="*")
            outcomes.append(number)
        except client.exceptions.ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert [o for o in outcomes if o != winner] == ["PreconditionFailed"] * 7
    tag = client.head_object(Bucket="bgexp", Key="lock")["ETag"]
    object_store.restart()
    answer = client.get_object(Bucket="bgexp", Key="lock")
    assert (answer["Body"].read(), answer["ETag"]) == (b"%d" % winner, tag)


def test_listings_come_in_pages(object_store):
    client = make_client(object_store)
    names = [f"pages/{number:02} ü+%&.txt" for number in range(12)]
    for name in names:
        client.put_object(Bucket="bgexp", Key=name, Body=b"x")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="bgexp", Prefix="pages/", PaginationConfig={"PageSize": 5}
    )
    assert [[entry["Key"] for entry in page["Contents"]] for page in pages] == [
        names[:5],
        names[5:10],
        names[10:],
    ]


def test_who_may_not(object_store):
    reader = make_client(object_store, object_store.reader_environment)
    make_client(object_store).put_object(Bucket="bgexp", Key="read", Body=b"me")
    assert reader.get_object(Bucket="bgexp", Key="read")["Body"].read() == b"me"
    assert refuse(lambda: reader.put_object(Bucket="bgexp", Key="read", Body=b"")) == "AccessDenied"
    assert refuse(lambda: reader.delete_object(Bucket="bgexp", Key="read")) == "AccessDenied"
    wrong = make_client(object_store, aws_secret_access_key="another")
    assert refuse(wrong.list_buckets) == "SignatureDoesNotMatch"
    stranger = make_client(
        object_store, {**object_store.client_environment, "AWS_ACCESS_KEY_ID": "x"}
    )
    assert refuse(stranger.list_buckets) == "InvalidAccessKeyId"
    assert refuse(lambda: reader.list_objects_v2(Bucket="absent")) == "NoSuchBucket"


# -- Slurm -----------------------------------------------------------------------------------


def count_jobs(slurm: Slurm, state: str) -> int:
    return len(slurm.run("squeue", "--noheader", f"--states={state}").splitlines())


def test_jobs_outlive_a_killed_controller(slurm, tmp_path):
    out = tmp_path / "out"
    wait = tmp_path / "go"
    script = f"until [ -e {wait} ]; do sleep 0.1; done; echo $SLURM_CPUS_ON_NODE >> {out}"
    for _ in range(3):  # two run, the third waits for a core
        slurm.run("sbatch", "--cpus-per-task=1", f"--output={os.devnull}", f"--wrap={script}")
    wait_until(lambda: count_jobs(slurm, "RUNNING") == 2)
    assert count_jobs(slurm, "PENDING") == 1
    sleep(6)  # it saves a job within five seconds
    slurm.controller.restart()
    wait.touch()
    wait_until(lambda: out.exists() and len(out.read_text().split()) == 3)
    wait_until(lambda: count_jobs(slurm, "RUNNING,PENDING,COMPLETING") == 0)
