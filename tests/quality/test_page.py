import re
from datetime import UTC, datetime

import numpy as np
import pytest

from bgexp.config.analyze import AnalysisFolder, Outliers, QualityChecks
from bgexp.images.decode import encode_jpeg
from bgexp.images.metadata import Metadata
from bgexp.quality.header import Header
from bgexp.quality.inspection import Inspection
from bgexp.quality.page import (
    MOST_FILES,
    MOST_THUMBNAILS,
    SizeDistribution,
    list_wrong_files,
    render_quality,
)
from bgexp.quality.reconcile import convert_to_dicts, count_missing_by_field, reconcile
from bgexp.quality.table import LOOKS, build_table, count_findings, summarize_categories
from bgexp.system.terminal import make_printable
from tests.pages import leads_outside

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
SECTIONS = ["numbers", "findings", "reconciliation", "sizes", "missing", "wrong", "thumbnails"]
SECTIONS += ["formats", "categories", "exif", "settings"]
SMALL = encode_jpeg(np.full((6, 8, 3), 100, np.uint8))
ANALYZE = QualityChecks(exif=("make",), expected={"images": 3, "corrupt": 1})


def make_image(path, size=1000, sides=(400, 300), category="a", sha256="", agrees=True, **fields):
    metadata = Metadata("JPEG", *sides, "RGB", 8, 1, 1, "", fields)
    header = Header("image", "", False, metadata, *sides, agrees)
    values = {"sha256": sha256 or path, "width": sides[0], "height": sides[1]}
    values["looks"] = dict.fromkeys(LOOKS, 100.0)
    return Inspection(path, category, size, header, True, thumbnail=SMALL, **values)


def make_bad(path, reason, kind="image", category="."):
    header = Header(kind, reason, corrupt=reason.startswith("corrupt"))
    return Inspection(path, category, 9, header, False, reason, header.corrupt, path)


def make_files(name="harmless"):
    """Make inspections of every kind, with flaws named `name`."""
    return [
        *(make_image(f"a/{n}.jpg", make=name) for n in range(10)),
        make_image(f"1{name}", 10**6, category=name, agrees=False),
        make_image(f"2{name}", sha256="a/1.jpg", category=name),
        make_image(f"3{name}", sha256=f"1{name}", category=name, software=name),
        make_bad(f"4{name}", f"corrupt: broken: {name}", category=name),
        make_bad(f"5{name}", "not an image", "other"),
        make_bad(f"6{name}", "a link", "closed"),
    ]


def make_page(files, name="/data", analyze=ANALYZE, when=None):
    rows = build_table(files, analyze, None)
    counts = count_findings(rows)
    summary = {
        "status": "finished",
        "run_id": "0123",
        "bgexp": {"version": "0.1.0"},
        "dataset": {"root": name},
        "findings": counts,
        "missing": {key: int(count) for key, count in count_missing_by_field(rows).items()},
        "reconciliation": convert_to_dicts(reconcile(rows, counts, analyze.expected, Outliers())),
        "categories": summarize_categories(rows),
        "seconds": 2.0,
        "images_per_s": 8.0,
    }
    sizes = rows["bytes"][rows["decodes"]].to_numpy(float)
    distributions = (
        [SizeDistribution("bytes", "bytes", sizes, 500.0, 2000.0, 1000.0)] if len(sizes) else []
    )
    folder = AnalysisFolder(root=name).model_dump(mode="json")
    settings = {"dataset": folder} | analyze.model_dump(mode="json")
    thumbnails = {file.path: file.thumbnail for file in files if file.thumbnail}
    links = {"table": "a b.csv"}
    return render_quality(summary, settings, rows, thumbnails, distributions, when, links)


def test_every_section(parse):
    page = parse(make_page(make_files(), when=datetime(2026, 11, 23, 9, 5, tzinfo=UTC)))
    assert [place for place in page.places if place in SECTIONS] == SECTIONS
    targets = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert set(targets) <= set(page.places)
    assert set(SECTIONS) <= set(targets)
    assert len(page.places) == len(set(page.places))
    for words in ("14 images in /data", "2026-11-23 09:05", "iqr x 3", "same bytes as a/1.jpg"):
        assert words in page.text
    assert len(page.all("img")) == 13
    assert page.all("a", href="a%20b.csv")
    assert not re.search(r"\b(nan|None|inf)\b", page.text)


def test_a_good_dataset_has_no_section_of_what_is_wrong(parse):
    page = parse(make_page([make_image(f"{n}.jpg") for n in range(3)], analyze=QualityChecks()))
    assert not {"wrong", "missing", "reconciliation", "categories"} & set(page.places)
    assert "Nothing stands out." in page.text


@pytest.mark.parametrize(
    "files", [[make_bad("x.jpg", "corrupt: x")], [make_bad("x.txt", "not an image", "other")]]
)
def test_where_no_image_decodes(parse, files):
    page = parse(make_page(files, analyze=QualityChecks()))
    assert not {"thumbnails", "sizes", "missing"} & set(page.places)
    assert "wrong" in page.places
    assert not re.search(r"\b(nan|None|inf)\b", page.text)


def test_what_is_wrong_and_the_most_first():
    files = make_files()
    rows = list_wrong_files(build_table(files, ANALYZE, None))
    assert dict(zip(rows["path"], rows["wrong"], strict=True)) == {
        "4harmless": "corrupt: broken: harmless, lacks make",
        "1harmless": "is a JPEG, outlier of bytes, lacks make",
        "2harmless": "same bytes as a/1.jpg, lacks make",
        "3harmless": "same bytes as 1harmless, lacks make",
        "5harmless": "not an image",
    }
    assert list(rows["path"])[:2] == ["4harmless", "1harmless"]
    assert list(rows["path"])[-1] == "5harmless"


def test_a_large_dataset_makes_a_small_page(parse):
    files = [make_image(f"{n}.jpg", agrees=n % 2 == 0) for n in range(2 * MOST_FILES + 20)]
    data = make_page(files)
    page = parse(data)
    assert len(page.all("img")) == MOST_THUMBNAILS
    assert "and 320 more, see quality.parquet" in page.text  # each lacks a make
    assert len(data) < 500_000


def test_nothing_outside_is_asked_for(parse):
    page = parse(make_page(make_files()))
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {"style", "srcset", "action"} & names
    assert not [name for name in names if name.startswith("on")]
    for _, attributes in page.tags:
        assert not leads_outside(attributes.get("href", "").removeprefix("data:"))
        others = [text for name, text in attributes.items() if name != "href"]
        assert "://" not in "".join(others)
        assert attributes.get("src", "data:").startswith("data:")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(parse, name):
    harmless = parse(make_page(make_files(), "/harmless"))
    page = parse(make_page(make_files(name), f"/{name}"))
    assert page.skeleton == harmless.skeleton
    assert page.inside == harmless.inside
    assert page.text.count(make_printable(name)) >= harmless.text.count("harmless") >= 10
    alts = {picture["alt"] for picture in page.all("img")}
    assert {f"{n}{make_printable(name)}" for n in (1, 2, 3)} <= alts
