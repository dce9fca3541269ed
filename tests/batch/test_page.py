import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bgexp.batch.findings import describe_pace
from bgexp.batch.journal import Identity, Origin, Record
from bgexp.batch.manifest import build_manifest
from bgexp.batch.page import MOST_LISTED, list_most_doubtful, render_batch
from bgexp.batch.plan_folder import Plan, PlanFolder
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.summary import build_summary
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.detect.inference_server import ServerStats
from bgexp.system.folders import LocalFolder
from bgexp.system.terminal import make_printable

HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    '"><script>alert(2)</script>.jpg',
    "' onmouseover='alert(3).jpg",
    "</style><svg onload=alert(5)>",
    "javascript:alert(6).jpg",
    "{{ 7 * 7 }}{% for %}.jpg",
    "a\nb\r\tc\x00\x1b[31m.jpg",
    "\U0001f469\u200d\U0001f680 \u202egpj.exe",
    "&lt;b&gt;.jpg",
)
SECTIONS = ["numbers", "findings", "images", "flags", "issues", "not-done"]
SECTIONS += ["categories", "distributions", "timings", "settings"]
SMALL = np.full((6, 8, 3), 100, np.uint8)


def make_records(name="harmless"):
    """Make records of every status, with flags, issues and reasons named `name`."""
    times = {"load": 3.0, "detect": 100.0, "encode": 5.0, "write": 1.0}
    good = {"output": "o", "coverage": 0.3, "confidence": 0.9, "timings_ms": times}
    return [
        *(Record(f"a/{n}.jpg", "a", "done", kind="regular", **good) for n in range(4)),
        Record(f"1{name}", name, "done", kind="outlier", flags=("nothing_found", "low_confidence"),
               quality_issues=("huge",), handling=name, **good | {"confidence": None}),
        Record(f"2{name}", name, "failed", name, missing_metadata=("make",)),
        Record(f"3{name}", name, "skipped", f"corrupt: {name}"),
        Record(f"4{name}", name, "skipped", "not an image"),
    ]  # fmt: skip


def make_settings():
    config = compose_config("batch", ["input=x", "output=out", "device=cpu"], None)
    return check_settings(BatchSettings, resolve_config(config))


def make_batch(name="in", metadata=None):
    device = {"requested": "cpu", "used": "cpu", "name": "CPU"}
    origin = Origin(Identity("s", "ab", "demo"), {"weights": "ab", "input": name}, device)
    return PlannedBatch(
        make_settings(),
        PlanFolder(LocalFolder(Path("out")), Plan("0" * 8, origin, metadata or {})),
    )


def make_page(records, name="in", when=None, **changes):
    settings = make_settings()
    rows = build_manifest(records)
    summary = build_summary(make_batch(name), rows, 10.0) | changes
    pictures = {path: (SMALL, SMALL) for path in list_most_doubtful(rows, 3)}
    values = settings.model_dump(mode="json") | {"input": name}
    return render_batch(summary, values, rows, pictures, when, {"manifest": "a b.csv"})


@pytest.mark.parametrize(
    ("seconds", "sentences"),
    [
        (9.5, ("busy 95% of the time", "it sets the pace: 2.0 pictures/s at most")),
        (2.0, ("busy 20% of the time", "the processes set the pace: 56% of their work is encode")),
    ],
)
def test_who_sets_the_pace_of_a_shared_network(seconds, sentences, parse):
    load = ServerStats(pictures=int(2 * seconds), batches=4, seconds=seconds, span=10.0)
    summary = build_summary(make_batch(), build_manifest(make_records()), 10.0, load)
    assert summary["network"] == {
        "busy": pytest.approx(seconds / 10),
        "images_per_s": pytest.approx(2.0),
        "pictures_per_batch": int(2 * seconds) / 4,
    }
    assert describe_pace(summary) == sentences
    idle_pace = describe_pace({**summary, "timings": {}})
    assert idle_pace == (sentences if seconds > 9 else (sentences[0], "nothing was done"))
    page = parse(make_page(make_records(), network=summary["network"]))
    assert all(part in page.text for part in sentences)


def test_a_network_that_was_asked_nothing_is_not_spoken_of():
    for load in (None, ServerStats()):
        summary = build_summary(make_batch(), build_manifest(make_records()), 10.0, load)
        assert summary["network"] is describe_pace(summary) is None


def test_how_the_metadata_were_read_is_kept(parse):
    form = {"file": "/x/texts.csv", "read_as": "UTF-16, columns divided by tabs"}
    rows = build_manifest(make_records())
    dataset = build_summary(make_batch(metadata=form), rows, 10.0)["dataset"]
    assert dataset["metadata"] == form
    page = parse(make_page(make_records(), dataset=dataset))
    assert "texts.csv" in page.text
    assert "read as UTF-16, columns divided by tabs" in page.text


def test_every_section(parse):
    page = parse(make_page(make_records(), when=datetime(2026, 11, 23, 9, 5, tzinfo=UTC)))
    assert [place for place in page.places if place in SECTIONS] == SECTIONS
    targets = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert set(targets) <= set(page.places)
    assert set(SECTIONS) <= set(targets)
    for words in ("8 files of in", "2026-11-23 09:05", "4 regular, 1 outlier", "not an image: 1"):
        assert words in page.text
    assert len(page.all("img")) == 2 * 3
    assert page.all("a", href="a%20b.csv")
    assert not re.search(r"\b(nan|None|inf)\b", page.text)


def test_the_most_doubtful_come_first():
    def make_done(path, *flags, confidence=0.9):
        return Record(path, ".", "done", flags=flags, confidence=confidence)

    records = [
        make_done("sure"),
        make_done("less sure", confidence=0.5),
        make_done("unscored", confidence=None),
    ]
    records += [
        make_done("flagged", "low_confidence"),
        make_done("grave", "unstable"),
        make_done("many", "a", "b", "c"),
    ]
    records += [Record("failed", ".", "failed", flags=("unstable",))]
    rows = build_manifest(records)
    order = ["grave", "many", "flagged", "unscored", "less sure", "sure"]
    assert list_most_doubtful(rows, 9) == order
    assert list_most_doubtful(rows, 2) == order[:2]
    assert list_most_doubtful(build_manifest([]), 2) == []


def test_how_it_ended_stands_on_top(parse):
    text = parse(make_page(make_records(), status="failed")).text
    assert "1 of 6 images failed, more than max_failed=0.02 allows" in text
    assert "failed, more than" not in parse(make_page(make_records()[:4])).text


@pytest.mark.parametrize("records", [[], make_records()[-1:], make_records()[5:6]])
def test_where_nothing_was_done(parse, records):
    page = parse(make_page(records))
    assert not {"images", "distributions", "timings", "flags"} & set(page.places)
    assert not re.search(r"\b(nan|None|inf)\b", page.text)


def test_long_lists_are_cut(parse):
    records = [Record(f"{n}.txt", ".", "skipped", "not an image") for n in range(MOST_LISTED + 5)]
    text = parse(make_page(records)).text
    assert "and 5 more, see manifest.parquet" in text


def test_nothing_outside_is_asked_for(parse):
    page = parse(make_page(make_records()))
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {"style", "srcset", "action"} & names
    assert not [name for name in names if name.startswith("on")]
    for _, attributes in page.tags:
        assert "://" not in "".join(attributes.values())
        assert attributes.get("src", "data:").startswith("data:")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(parse, name):
    harmless = parse(make_page(make_records(), "harmless"))
    page = parse(make_page(make_records(name), name))
    assert page.skeleton == harmless.skeleton
    assert page.inside == harmless.inside
    assert page.text.count(make_printable(name)) >= harmless.text.count("harmless") >= 10
    assert {f"original of 1{make_printable(name)}", f"cut-out of 1{make_printable(name)}"} <= {
        image["alt"] for image in page.all("img")
    }
