import errno
import io
import json
import math
import os
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bgexp.batch.command import (
    BatchResult,
    batch_process_images,
    batch_process_with_quality_handling,
)
from bgexp.batch.journal import Journal, Record, read_journal
from bgexp.batch.output_folder import LocalLock
from bgexp.detect.inference_server import start_server
from bgexp.errors import UserError
from bgexp.images.decode import load_image
from bgexp.system.folders import LocalFolder
from bgexp.system.hashing import hash_bytes
from tests.batch.conftest import assert_accounted, find_journal, manifest, tree


def test_every_file_is_accounted_for(batch, source, tmp_path):
    before = {path: path.read_bytes() for path in source.rglob("*.j*") if not path.is_symlink()}
    result = batch()
    rows = assert_accounted(source, tmp_path / "out")
    assert isinstance(result, BatchResult)
    assert dict(rows["reason"][rows["status"] == "skipped"]) == {
        "birds/cut.jpg": rows.loc["birds/cut.jpg", "reason"],
        "empty.jpg": "corrupt: empty: no bytes",
        "link.jpg": "a link",
        "notes.txt": "not an image",
        "pipe.png": "a FIFO",
    }
    assert rows.loc["birds/cut.jpg", "reason"].startswith("corrupt: truncated: ")
    assert rows.loc["birds/owl.jpg", "output"].endswith("birds/owl.jpg.png")
    assert rows.loc["birds/owl.jpeg", "output"].endswith("birds/owl.jpeg.png")
    assert {path: path.read_bytes() for path in before} == before
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["counts"]["total"] == len(rows)
    assert summary["counts"]["done"] == 4
    assert summary["counts"]["corrupt"] == 2
    assert (tmp_path / "out/report.html").stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / "out/manifest.csv")) == len(rows)


@pytest.mark.usefixtures("first_batch")
def test_a_second_run_does_nothing_again(batch, tmp_path):
    output = tmp_path / "out"
    hashes, times = tree(output), {p: p.stat().st_mtime_ns for p in output.glob("r*/**/*.png")}
    rows = manifest(output)
    summary = batch().summary
    assert (summary["counts"]["done"], summary["reused"]) == (4, 4)
    assert math.isnan(summary["images_per_s"])  # none was worked on
    assert tree(output) == hashes
    assert {path: path.stat().st_mtime_ns for path in times} == times
    pd.testing.assert_frame_equal(manifest(output), rows)


@pytest.mark.usefixtures("first_batch")
def test_workers_that_share_a_network_write_what_others_do(batch, source, tmp_path, monkeypatch):
    expected = tree(tmp_path / "out")
    monkeypatch.setattr("bgexp.detect.placement.wants_one_process", lambda _: True)
    batch(f"output={tmp_path / 'shared'}")
    assert tree(tmp_path / "shared") == expected
    assert_accounted(source, tmp_path / "shared")


def test_a_network_that_dies_stops_the_batch_with_one_line(batch, tmp_path, monkeypatch):
    @contextmanager
    def start_short_lived_server(build):
        with start_server(build) as network:
            pass
        yield network

    monkeypatch.setattr("bgexp.detect.placement.wants_one_process", lambda _: True)
    with monkeypatch.context() as patch:
        patch.setattr("bgexp.detect.build.start_server", start_short_lived_server)
        with pytest.raises(UserError, match=r"^the process of the network died") as caught:
            batch()
    assert "\n" not in str(caught.value)
    assert not tree(tmp_path / "out")
    assert batch().summary["counts"]["done"] == 4


@pytest.mark.usefixtures("first_batch")
def test_what_is_wrong_on_disk_is_done_again(batch, source, tmp_path):
    output = tmp_path / "out"
    before = tree(output)
    rows = manifest(output)
    cat, duck = (
        output / rows.loc[name, "output"] for name in ("animals/cat.jpg", "birds/duck.jpg")
    )
    cat.write_bytes(cat.read_bytes()[:-1])
    duck.unlink()
    (output / "regular/.bgexp-0123456789abcdef.part").write_bytes(b"half")
    summary = batch().summary
    assert summary["reused"] == 2
    assert summary["images_per_s"] == pytest.approx(2 / summary["seconds"])
    assert tree(output) == before
    assert_accounted(source, output)


@pytest.mark.usefixtures("first_batch")
def test_an_input_that_changed_is_done_again_and_only_that(batch, source, tmp_path):
    output = tmp_path / "out"
    before = tree(output)
    shutil.copy(source / "birds/owl.jpg", source / "animals/cat.jpg")
    batch()
    rows = assert_accounted(source, output)
    changed = {name for name, sha256 in tree(output).items() if before.get(name) != sha256}
    assert changed == {rows.loc["animals/cat.jpg", "output"]}


@pytest.mark.usefixtures("first_batch")
def test_a_new_twin_moves_the_first_result_and_leaves_no_stale_one(batch, source, tmp_path):
    output = tmp_path / "out"
    assert manifest(output).loc["animals/cat.jpg", "output"].endswith("animals/cat.png")
    shutil.copy(source / "birds/duck.jpg", source / "animals/cat.JPG")
    batch()
    rows = assert_accounted(source, output)
    assert rows.loc["animals/cat.jpg", "output"].rpartition("/")[2].startswith("cat.jpg~")
    assert rows.loc["animals/cat.JPG", "output"].rpartition("/")[2].startswith("cat.JPG~")


@pytest.mark.usefixtures("first_batch")
def test_other_settings_are_refused_unless_told_otherwise(batch, tmp_path):
    output = tmp_path / "out"
    before = tree(output)
    with pytest.raises(UserError) as caught:
        batch("cutout.background=white")
    assert "output: " in str(caught.value)
    assert "cutout.background was black, is white" in str(caught.value)
    with pytest.raises(UserError, match=r"settings: refine was none, is guided; choose"):
        batch("refine=guided")
    assert "overwrite=true" in str(caught.value)
    assert tree(output) == before
    batch("cutout.background=white", "overwrite=true")
    assert tree(output) != before
    white = load_image(output / manifest(output).loc["animals/cat.jpg", "output"])
    assert (white == 255).all(axis=2).any()


@pytest.mark.usefixtures("first_batch")
def test_an_input_that_was_moved_goes_on_when_told(batch, source, tmp_path):
    output = tmp_path / "out"
    moved = source.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"input was \S+, is .*; moved_input=true if"):
        batch(f"input={moved}")
    with pytest.raises(UserError, match=r"cutout.background was black, is white"):
        batch(f"input={moved}", "moved_input=true", "cutout.background=white")
    results = {name: data for name, data in tree(output).items() if name.endswith(".png")}
    summary = batch(f"input={moved}", "moved_input=true").summary
    assert summary["reused"] == summary["counts"]["done"] == len(results)
    assert_accounted(moved, output)
    batch(f"input={moved}")  # from then on it is its input


@pytest.mark.usefixtures("first_batch")
def test_results_of_inputs_that_are_gone_are_kept_until_told_otherwise(batch, source, tmp_path):
    output = tmp_path / "out"
    before = tree(output)
    (source / "birds/duck.jpg").unlink()
    with pytest.raises(
        UserError, match=r"1 results of files that are no longer in the input .*duck"
    ):
        batch()
    assert tree(output) == before
    batch("overwrite=true")
    assert_accounted(source, output)


def test_strangers_files_are_not_written_over(batch, tmp_path):
    stranger = tmp_path / "out/regular/animals/cat.png"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"precious")
    with pytest.raises(UserError, match="holds files that no batch has recorded"):
        batch()
    assert stranger.read_bytes() == b"precious"


@pytest.mark.usefixtures("first_batch")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["../mine", "ABSOLUTE", "regular/../../mine", ".bgexp/lock"])
def test_a_journal_that_names_files_elsewhere_is_refused(batch, tmp_path, name, overwrite):
    outside, journal = tmp_path / "mine", find_journal(tmp_path / "out")
    outside.write_bytes(b"mine")
    name = name.replace("ABSOLUTE", str(outside))
    records = read_journal(LocalFolder(journal.parent), journal.name).records
    forged = Record("gone.jpg", ".", "done", output=name, output_sha256=hash_bytes(b"mine"))
    Journal(LocalFolder(journal.parent), journal.name, [*records.values(), forged])
    with pytest.raises(UserError, match=r"^output: \S+ names .* which is no result in this folder"):
        batch(f"overwrite={overwrite}")
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize("place", ["regular", "regular/birds", "masks/birds", ".bgexp"])
def test_a_link_in_the_output_is_refused(batch, tmp_path, place):
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "out" / place
    elsewhere.mkdir()
    (elsewhere / ".bgexp-1.part").touch()
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(UserError, match=rf"^output: {re.escape(str(link))} is a link, and nothing"):
        batch("masks=true")
    assert [path.name for path in elsewhere.iterdir()] == [".bgexp-1.part"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.98])
@pytest.mark.usefixtures("first_batch")
def test_a_damaged_journal_costs_only_what_it_lost(batch, source, tmp_path, keep, capfd):
    output = tmp_path / "out"
    before = tree(output)
    journal = find_journal(output)
    data = bytearray(journal.read_bytes())
    journal.write_bytes(data[: int(keep * len(data))])
    batch()
    assert tree(output) == before
    assert ("damaged lines" in capfd.readouterr().err) == (keep > 0)
    assert_accounted(source, output)


@pytest.mark.usefixtures("first_batch")
def test_results_without_a_whole_plan_are_nobodys(batch, tmp_path):
    plan = tmp_path / "out/.bgexp/plan.jsonl"
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(UserError, match="no batch has recorded"):
        batch()


def test_a_dry_run_tells_everything_and_writes_nothing(bgexp_cli, source, tmp_path):
    code, out, _ = bgexp_cli(
        "batch", f"input={source}", f"output={tmp_path / 'out'}", "dry_run=true"
    )
    assert code == 0
    assert "birds/owl.jpeg -> regular/birds/owl.jpeg.png" in out
    assert "notes.txt -> skipped: not an image" in out
    assert out.splitlines()[-1].startswith("9 files: ")
    assert out.splitlines()[-1].endswith(". Nothing was written.")
    assert not (tmp_path / "out").exists()


def test_input_and_output_are_two_folders(batch, source):
    for output in (source, source.parent / "in/../in"):
        with pytest.raises(UserError, match="would mix its results with the input"):
            batch(f"output={output}")
    with pytest.raises(UserError, match=r"^input: no such folder or file: "):
        batch("input=nowhere")


def test_an_output_inside_the_input_is_not_taken_for_input(batch, source):
    batch(f"output={source / 'results'}")
    first = manifest(source / "results")
    batch(f"output={source / 'results'}")
    assert list(manifest(source / "results").index) == list(first.index)


def test_a_second_batch_is_refused_with_the_first_ones_process_id(batch, tmp_path):
    with LocalLock(LocalFolder(tmp_path / "out")) as lock:
        lock.hold_alone()
        with pytest.raises(UserError, match=f"process {os.getpid()} on "):
            batch()


def test_a_page_without_the_pictures_that_memory_does_not_suffice_for(batch, tmp_path, monkeypatch):
    def raise_memory_error(*_):
        raise MemoryError

    monkeypatch.setattr("bgexp.batch.artifacts.decode_image", raise_memory_error)
    assert batch().summary["status"] == "finished"
    assert "data:image" not in (tmp_path / "out/report.html").read_text()


def test_masks_formats_and_colours(batch, tmp_path):
    batch("format=webp", "masks=true", "cutout.background=transparent", "cutout.edge=hard")
    rows = manifest(tmp_path / "out")
    row = rows.loc["animals/cat.jpg"]
    with Image.open(tmp_path / "out" / row["output"]) as image:
        assert (image.format, image.mode) == ("WEBP", "RGBA")
        alpha = np.asarray(image.getchannel("A"))
    with Image.open(tmp_path / "out" / row["mask"]) as mask:
        assert np.array_equal(np.asarray(mask), alpha)
    assert row["mask"] == "masks/animals/cat.png"


def test_alphas_lie_beside_the_results(batch, tmp_path):
    batch("alphas=true", "cutout.edge=soft")
    rows = manifest(tmp_path / "out")
    row = rows.loc["animals/cat.jpg"]
    assert row["alpha"] == "alphas/animals/cat.png"
    content = (tmp_path / "out" / row["alpha"]).read_bytes()
    assert row["alpha_sha256"] == hash_bytes(content)
    with Image.open(io.BytesIO(content)) as alpha:
        levels = np.asarray(alpha)
    assert levels.dtype == np.uint8
    black = load_image(tmp_path / "out" / row["output"])
    assert not black[levels == 0].any()
    assert (rows["mask"] == "").all()
    batch("cutout.edge=soft", "overwrite=true")  # the alphas are nobody's now
    assert not (tmp_path / "out/alphas/animals/cat.png").exists()


def test_alphas_need_a_soft_edge(bgexp_cli, tmp_path):
    code, _, err = bgexp_cli("batch", f"input={tmp_path}", f"output={tmp_path}", "alphas=true")
    assert code == 2
    assert err == (
        "bgexp: alphas: the edge is hard, and its alpha the mask (use cutout.edge=soft)\n"
    )


def test_too_many_failures_fail_the_batch(batch, source, tmp_path):
    # A WebP cannot be longer than 16,383 pixels: a failure in processing.
    Image.new("RGB", (17000, 1)).save(source / "long.png")
    assert batch("format=webp", "max_failed=50%").summary["status"] == "finished"
    result = batch("format=webp", "max_failed=10%")
    assert result.summary["status"] == "failed"
    assert (
        manifest(tmp_path / "out").loc["long.png", "reason"].startswith("ValueError: 17000 pixels")
    )


def test_an_input_that_cannot_be_read_has_failed(batch, source, tmp_path, capfd):
    # A regular file whose reads fail with EIO: nothing is at address 0.
    (tmp_path / "eio.jpg").symlink_to("/proc/self/mem")
    result = batch(f"input=[{source / 'animals/cat.jpg'},{tmp_path / 'eio.jpg'}]")
    row = manifest(tmp_path / "out").loc["eio.jpg"]
    assert (row["status"], row["reason"]) == ("failed", "unreadable: Input/output error")
    assert result.summary["counts"]["failed"] == result.summary["counts"]["done"] == 1
    assert result.summary["status"] == "failed"
    assert "eio.jpg: failed: unreadable: Input/output error" in capfd.readouterr().err


def test_a_folder_that_cannot_be_read_has_failed(batch, source, tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(folder):
        if str(folder) == str(source / "birds"):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    assert batch().summary["status"] == "failed"
    row = manifest(tmp_path / "out").loc["birds"]
    assert (row["status"], row["reason"]) == ("failed", "unreadable: Permission denied")


@pytest.mark.parametrize("share", ["2%", "0.02"])
def test_the_budget_is_a_share(settings, share):
    assert settings(f"max_failed={share}").max_failed == 0.02


def test_quality_rules_off(batch, source, tmp_path):
    Image.new("RGB", (3, 3)).save(source / "tiny.png")
    batch()
    row = manifest(tmp_path / "out").loc["tiny.png"]
    assert "tiny" in row["quality_issues"].split(",")
    assert row["handling"].startswith("padded to 96x96")
    batch("quality.enabled=false", "overwrite=true")
    rows = manifest(tmp_path / "out")
    assert set(rows["quality_issues"]) == {""}
    assert set(rows["kind"][rows["status"] == "done"]) == {"regular"}


ODD_NAMES = [
    b"line\nbreak.jpg",
    b"\xff\xfe.jpg",
    b"-rf.jpg",
    b"<script>alert(1)<script>.jpg",
    b"=cmd()|x.jpg",
    b"a" * 251 + b".jpg",
    b"\xc3\xbc.jpg",  # the same letter in two Unicode forms
    b"u\xcc\x88.jpg",
    b"trailing .jpg",
    b"\x1b[31mred.jpg",
]


def test_odd_names_are_worked_on_and_shown_safely(batch, source, tmp_path):
    for name in ODD_NAMES:
        shutil.copy(source / "animals/cat.jpg", os.fsencode(source) + b"/" + name)
    batch()
    output = tmp_path / "out"
    rows = manifest(output)
    assert (rows["status"] == "done").sum() == 4 + len(ODD_NAMES)
    outputs = rows["output"][rows["output"] != ""]
    assert outputs.str.casefold().is_unique
    assert all((output / name).is_file() for name in outputs)
    page = (output / "report.html").read_text()
    assert "<script>alert" not in page
    table = (output / "manifest.csv").read_text()
    assert "\x1b" not in table
    assert len(table.splitlines()) == 1 + len(rows)
    assert "'=cmd()|x.jpg" in table


def test_the_two_functions_decide_about_the_rules(settings, no_tracking):  # noqa: ARG001
    plan = settings("dry_run=true", "quality.elongation=1")
    with_rules = batch_process_with_quality_handling(plan).planned
    assert any("elongated" in file.issues for file in with_rules)
    assert not any(file.issues for file in batch_process_images(plan).planned)
