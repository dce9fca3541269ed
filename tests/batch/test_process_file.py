import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from bgexp.batch.journal import Identity
from bgexp.batch.planned_file import PlannedFile, quote_path
from bgexp.batch.process_file import BatchAborted, FileTask, process
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.detect.detections import Detections
from bgexp.detect.inference_server import NetworkLostError
from bgexp.images.decode import load_image
from bgexp.images.png import encode_png
from bgexp.pipeline.cutout import cut_out
from bgexp.pipeline.remove import RemovalResult
from bgexp.system import folders
from bgexp.system.folders import LocalFolder
from bgexp.system.hashing import hash_file
from bgexp.system.listing import list_all_files

IDENTITY = Identity("settings", "weights", "demo")
NOTHING = Detections(
    boxes=np.zeros((0, 4), np.float32),
    labels=np.zeros(0, np.int64),
    scores=np.zeros(0, np.float32),
    masks=np.zeros((0, 28, 28), np.uint8),
    height=1,
    width=1,
)


def left_half(image, score=0.95, refined="applied"):
    """Return a result that keeps the left half of an image."""
    mask = np.zeros(image.shape[:2], np.bool_)
    mask[:, : image.shape[1] // 2] = True
    scores = np.full(1, score, np.float32)
    times = {"detect": 1.0, "combine": 1.0, "refine": 1.0, "cutout": 1.0}
    cutout = cut_out(image, mask)
    return RemovalResult(cutout, mask, mask, NOTHING, scores, refined, "", times)


@pytest.fixture
def settings(tmp_path):
    overrides = [f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "masks=true"]
    return check_settings(BatchSettings, resolve_config(compose_config("batch", overrides, None)))


@pytest.fixture
def job(tmp_path):
    """Return the task of an image of 120x100 pixels."""
    folder = tmp_path / "in"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    (folder / "a.png").write_bytes(encode_png(pixels))
    (entry,) = list_all_files(folder)
    planned = PlannedFile(
        entry.path,
        quote_path(entry.file),
        entry.state,
        output="regular/a.png",
        mask="masks/a.png",
        kind="regular",
        missing=("make",),
    )
    return FileTask(planned, None)


def run(job, settings, tmp_path, remove=left_half):
    (tmp_path / "out").mkdir(exist_ok=True)  # as a batch makes it before its work
    return process(job, settings, LocalFolder(tmp_path / "out"), IDENTITY, remove)


def test_a_result_and_its_record(job, settings, tmp_path):
    record = run(job, settings, tmp_path)
    output, mask = tmp_path / "out/regular/a.png", tmp_path / "out/masks/a.png"
    assert (record.status, record.kind, record.reason) == ("done", "regular", "")
    assert (record.width, record.height, record.coverage) == (120, 100, 0.5)
    assert record.confidence == pytest.approx(0.95)
    assert record.missing_metadata == ("make",)
    assert record.output_sha256 == hash_file(output)
    assert record.mask_sha256 == hash_file(mask)
    assert (record.settings_hash, record.weights_sha256) == ("settings", "weights")
    assert {"load", "detect", "encode", "write"} <= set(record.timings_ms)
    assert record.memory > 0
    image = load_image(job.planned.file)
    assert np.array_equal(load_image(output)[:, :60], image[:, :60])
    assert not load_image(output)[:, 60:].any()


def test_what_is_there_and_whole_is_not_done_again(job, settings, tmp_path):
    record = run(job, settings, tmp_path)

    def fail_if_called(_):
        raise AssertionError

    assert run(replace(job, earlier=record), settings, tmp_path, fail_if_called) == record


@pytest.mark.parametrize(
    "change",
    [
        {"input_sha256": "other"},
        {"settings_hash": "other"},
        {"weights_sha256": "other"},
        {"output": "outliers/a.png"},
        {"kind": "outlier"},
        {"output_sha256": "other"},
        {"mask_sha256": "other"},
        {"status": "failed"},
        {"missing_metadata": ()},
    ],
)
def test_a_record_of_anything_else_counts_for_nothing(job, settings, tmp_path, change):
    record = run(job, settings, tmp_path)
    earlier = replace(record, **change)
    repeated = run(replace(job, earlier=earlier), settings, tmp_path)
    assert repeated.status == "done"
    assert replace(repeated, timings_ms={}, memory=0) == replace(record, timings_ms={}, memory=0)


def test_an_input_that_changed_or_vanished_is_named(job, settings, tmp_path):
    job.planned.file.write_bytes(job.planned.file.read_bytes() + b" ")
    record = run(job, settings, tmp_path)
    assert (record.status, record.reason) == ("failed", "changed after the batch had begun")
    job.planned.file.unlink()
    record = run(job, settings, tmp_path)
    assert (record.status, record.reason) == ("failed", "vanished after the batch had begun")
    os.mkfifo(job.planned.file)
    assert run(job, settings, tmp_path).reason == "changed after the batch had begun"
    assert not list((tmp_path / "out").iterdir())


def test_what_goes_wrong_in_processing_is_a_failed_row(job, settings, tmp_path):
    def fail(_):
        raise RuntimeError("a\nb")

    record = run(job, settings, tmp_path, fail)
    assert (record.status, record.reason, record.output) == ("failed", "RuntimeError: a b", "")


def test_want_of_memory_is_not_the_images_fault(job, settings, tmp_path):
    def fail(_):
        raise MemoryError

    with pytest.raises(MemoryError):
        run(job, settings, tmp_path, fail)


def test_a_lost_network_is_not_the_images_fault(job, settings, tmp_path):
    def fail(_):
        raise NetworkLostError("the process of the network died")

    with pytest.raises(NetworkLostError):
        run(job, settings, tmp_path, fail)


@pytest.mark.parametrize(
    ("number", "stops"),
    [(28, True), (122, True), (27, True), (5, True), (30, True), (36, False)],
    ids=["full", "quota", "too large a file", "I/O", "read-only", "too long a name"],
)
def test_a_disk_that_refuses_stops_the_batch(job, settings, tmp_path, monkeypatch, number, stops):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folders, "write_inside", fail)
    outcome = run(job, settings, tmp_path)
    if stops:
        message = f"output: {tmp_path / 'out'}: {os.strerror(number)}: regular/a.png"
        assert outcome == BatchAborted(f"{message}; make room and run the same command again")
    else:
        assert outcome.reason == f"cannot be written: {os.strerror(number)}"


def keep_share(share):
    def remove(image):
        mask = np.zeros(image.shape[0] * image.shape[1], np.bool_)
        mask[: round(share * mask.size)] = True
        mask = mask.reshape(image.shape[:2])
        return replace(left_half(image), mask=mask, unrefined=mask)

    return remove


@pytest.mark.parametrize(
    ("remove", "flags"),
    [
        (keep_share(0.0), ("nothing_found",)),
        (keep_share(0.005), ("low_coverage",)),
        (keep_share(0.99), ("high_coverage", "border_contact")),
        (lambda image: left_half(image, score=0.71), ("border_contact", "low_confidence")),
        (
            lambda image: left_half(image, refined="refused"),
            ("border_contact", "refinement_refused"),
        ),
    ],
)
def test_flags(job, settings, tmp_path, remove, flags):
    assert run(job, settings, tmp_path, remove).flags == flags


def test_what_a_link_leads_to_is_read_unless_it_changes(job, settings, tmp_path):
    link = tmp_path / "in" / "link.png"
    link.symlink_to("a.png")
    entries = {entry.path: entry for entry in list_all_files(link.parent, follow_links=True)}
    planned = replace(
        job.planned,
        path="link.png",
        address=quote_path(link),
        state=entries["link.png"].state,
        output="b.png",
    )
    assert run(replace(job, planned=planned), settings, tmp_path).status == "done"
    link.unlink()
    link.symlink_to(shutil.copy(link.parent / "a.png", tmp_path / "other.png"))
    record = run(replace(job, planned=planned), settings, tmp_path)
    assert (record.status, record.reason) == ("failed", "changed after the batch had begun")
