"""Batches from and to an object store: what they write is what a batch on files writes."""

import json
from multiprocessing import forkserver

import pandas as pd
import pytest

from bgexp.batch.command import batch_process_with_quality_handling
from bgexp.batch.dispatch import open_image_workers
from bgexp.errors import HaltedError, UserError
from bgexp.system.folders import StoreFolder
from bgexp.system.stores import StoreError, walk_objects, write_object
from bgexp.system.workers import preload


@pytest.fixture(scope="module", autouse=True)
def _workers(object_store):
    """Let the workers' server start anew, with the store's keys in its environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_store.client_environment.items():
            patch.setenv(name, value)
        forkserver._forkserver._stop()
        preload("bgexp.batch.process_file")
        yield
    forkserver._forkserver._stop()
    preload("bgexp.batch.process_file")


MEASURED = ["timings_ms", "memory"]
pytestmark = pytest.mark.usefixtures("no_tracking")


@pytest.fixture
def stored(source, bucket):
    """The input, in the store; of what is no regular file there is nothing."""
    for file in source.rglob("*"):
        if file.is_file() and not file.is_symlink():
            write_object(bucket / "in" / file.relative_to(source).as_posix(), file.read_bytes())
    (source / "link.jpg").unlink()
    (source / "pipe.png").unlink()
    return bucket / "in"


@pytest.fixture
def output(bucket):
    return StoreFolder(bucket / "out")


def read_results(folder):
    """Return the results by name."""
    names = [found.key for found in walk_objects(folder.address)]
    names = [name.removeprefix(f"{folder.address.key}/") for name in names]
    return {name: folder.read(name) for name in names if name.startswith(("regular", "masks"))}


def read_rows(folder):
    with folder.open("manifest.parquet") as file:
        return pd.read_parquet(file).drop(columns=[*MEASURED, "settings_hash"])


def test_it_is_what_a_batch_on_files_is(batch, stored, output, tmp_path):
    batch("masks=true")
    files = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*.png")
    }
    summary = batch("masks=true", f"input={stored}", f"output={output}").summary
    assert read_results(output) == files
    local = pd.read_parquet(tmp_path / "out/manifest.parquet")
    pd.testing.assert_frame_equal(
        read_rows(output), local.drop(columns=[*MEASURED, "settings_hash"])
    )
    assert json.loads(output.read("summary.json"))["counts"] == summary["counts"]
    assert b"owl.jpg" in output.read("report.html")
    assert output.read("manifest.csv").count(b"\n") == summary["counts"]["total"] + 1
    assert not output.has_files(".bgexp/locks")


def test_a_second_batch_finds_all_of_it_and_does_what_changed(batch, stored, output):
    arguments = f"input={stored}", f"output={output}"
    batch(*arguments)
    assert batch(*arguments).summary["reused"] == 4
    write_object(stored / "birds/duck.jpg", (output.read("regular/birds/duck.png")))
    output.discard("regular/animals/cat.png")
    summary = batch(*arguments).summary
    assert (summary["counts"]["done"], summary["reused"]) == (4, 2)


def test_shares_of_several_processes(batch, settings, stored, output):
    arguments = f"input={stored}", f"output={output}"
    batch(*arguments)
    expected = read_results(output)
    for name in ("regular", ".bgexp", "summary.json"):
        output.discard(name)
    for share in ("1/2", "2/2"):
        batch_process_with_quality_handling(settings(*arguments, f"part={share}"))
    assert batch(*arguments, "part=unite").summary["counts"]["done"] == 4
    assert read_results(output) == expected


def test_an_input_that_changes_meanwhile_has_its_row(batch, stored, output, monkeypatch):
    def change(*arguments):
        write_object(stored / "birds/owl.jpg", b"other")
        return open_image_workers(*arguments)

    monkeypatch.setattr("bgexp.batch.dispatch.open_image_workers", change)
    batch(f"input={stored}", f"output={output}")
    rows = read_rows(output).set_index("path")
    assert rows.loc["birds/owl.jpg", "reason"] == "changed after the batch had begun"
    assert rows.loc["birds/owl.jpg", "status"] == "failed"


def test_an_output_below_its_input_is_none_of_it(batch, stored):
    for _ in range(2):
        summary = batch(f"input={stored}", f"output={stored / 'out'}").summary
        assert summary["counts"]["total"] == 7
    with pytest.raises(UserError, match="would mix its results"):
        batch(f"input={stored}", f"output={stored}")


@pytest.mark.parametrize("key", ["input", "output", "detector.weights", "refine.weights"])
def test_credentials_in_an_address_are_shown_nowhere(settings, key):
    with pytest.raises(UserError, match=rf"^{key}: .* they come from the environment$"):
        settings("refine=unet", f"{key}=s3://key:secret@photos/x")


def make_failing_reader(_rules):
    return lambda chunk: StoreError(5, "the store does not answer", str(chunk[1][0].file))


def test_a_store_that_fails_ends_the_planning_and_skips_nothing(batch, stored, output, monkeypatch):
    monkeypatch.setattr("bgexp.batch.drafts._make_chunk_reader", make_failing_reader)
    with pytest.raises(HaltedError, match=r"^input: s3://\S+: the store does not answer; run the"):
        batch(f"input={stored}", f"output={output}")
