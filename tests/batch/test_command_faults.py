import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from bgexp.errors import HaltedError, UserError
from bgexp.images.decode import load_image
from tests.batch.conftest import assert_accounted, tree

JOURNALS = ".bgexp/*/*.journal.jsonl"


def command(settings_of, *overrides):
    """Return the command line of the same batch, for a process of its own."""
    values = settings_of(*overrides).model_dump(mode="json")
    arguments = [
        f"{key}={values[key]}" for key in ("input", "output", "runs_dir", "device", "workers")
    ]
    detector = values["detector"]
    arguments += [
        f"detector.{key}={detector[key]}" for key in ("weights", "score_threshold", "image_size")
    ]
    own = {name.partition("=")[0] for name in overrides}
    arguments = [argument for argument in arguments if argument.partition("=")[0] not in own]
    return [sys.executable, "-m", "bgexp.cli.main", "batch", *arguments, "refine=none", *overrides]


@pytest.mark.usefixtures("first_batch")
def test_killed_and_resumed_it_ends_with_the_same_bytes(batch, settings, source, tmp_path):
    output = tmp_path / "out"
    expected = tree(output)
    shutil.rmtree(output)
    process = subprocess.Popen(command(settings), start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(path.stat().st_size for path in output.glob(JOURNALS)):
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    for name, sha256 in tree(output).items():
        assert name.endswith(".part") or expected[name] == sha256
    batch()
    assert tree(output) == expected
    assert_accounted(source, output)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_within_seconds_and_it_can_be_resumed(
    batch, settings, source, tmp_path, number, code
):
    stderr = tmp_path / "stderr.txt"
    with stderr.open("w") as file, subprocess.Popen(command(settings), stderr=file) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(tmp_path.glob(f"out/{JOURNALS}")):
            time.sleep(0.01)
        process.send_signal(number)
        started = time.monotonic()
        assert process.wait(30) == code
        assert time.monotonic() - started < 10
    assert stderr.read_text().splitlines()[-1].startswith("bgexp: interrupted")
    assert not (tmp_path / "out/manifest.parquet").exists()
    batch()
    assert_accounted(source, tmp_path / "out")


@pytest.fixture
def mount_point(tmp_path):
    """Return a function that mounts a small file system with options and returns its folder."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(options):
        process = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)])
        if process.returncode:
            pytest.skip("needs the right to mount")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)])


def test_a_full_disk_stops_it_with_one_line(batch, source, mount_point):
    output = mount_point("size=400k") / "out"
    with pytest.raises(HaltedError, match=r"^output: .*No space left on device") as caught:
        batch(f"output={output}")
    assert len(str(caught.value).splitlines()) == 1
    for name in tree(output):
        load_image(output / name)
    subprocess.run(["mount", "-o", "remount,size=40m", str(output.parent)], check=True)
    batch(f"output={output}")
    assert_accounted(source, output)


def test_a_read_only_output_is_refused_before_anything_is_loaded(batch, mount_point):
    with pytest.raises(UserError, match=r"^output: .*Read-only file system"):
        batch(f"output={mount_point('ro')}")


def test_a_store_that_is_away_costs_nothing_and_gets_its_record_later(settings, tmp_path, capfd):
    from bgexp.batch.command import batch_process_with_quality_handling
    from bgexp.tracking.store import open_store

    result = batch_process_with_quality_handling(settings("tracking.uri=http://127.0.0.1:9"))
    assert result.summary["status"] == "finished"
    assert "the record is kept in" in capfd.readouterr().err
    posts = list((tmp_path / "runs/outbox").glob("*.json"))
    assert len(posts) == 1
    batch_settings = settings()
    result = batch_process_with_quality_handling(batch_settings)
    assert result.summary["run_id"]
    assert not list((tmp_path / "runs/outbox").glob("*.json"))
    client, experiment = open_store(batch_settings)
    runs = client.search_runs([experiment])
    assert len(runs) == 2
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.metrics["counts.done"] for run in runs} == {4.0}
