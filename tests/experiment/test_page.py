import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bgexp.experiment.image_table import tabulate_images
from bgexp.experiment.page import render_run
from bgexp.report.render import MAX_ROWS
from bgexp.system.terminal import make_printable
from tests.pages import leads_outside

HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    '"><script>alert(2)</script>.jpg',
    "' onmouseover='alert(3).jpg",
    "</script><script>alert(4)</script>",
    "</style><svg onload=alert(5)>",
    "javascript:alert(6).jpg",
    "{{ 7 * 7 }}{% for %}.jpg",
    "a\nb\r\tc\x00\x1b[31m.jpg",
    "100%25 %2e%2e/..%2f.jpg",
    "\U0001f469\u200d\U0001f680 caf\u00e9 \u202egpj.exe",
    "&lt;b&gt;&#39;.jpg",
    "x" * 251 + ".jpg",
)


@pytest.fixture(scope="session")
def render(run_parts, parse, settings):
    """A page of a run of so many images, taken apart."""

    def make(n, truth=True, **fields):
        summary, rows, pictures = run_parts(n, truth, **fields)
        return parse(render_run(summary, settings, rows, pictures, links={"rows": "a b.parquet"}))

    return make


def headings(page):
    return page.places[: page.places.index("settings") + 1]


# -- what is there -------------------------------------------------------------------------------


def test_a_run_with_truth(render):
    page = render(40)
    sections = ["findings", "numbers", "distributions", "thresholds", "categories", "refinement"]
    sections += ["checks", "images", "all", "failed", "timings", "settings"]
    assert [place for place in page.places if place in sections] == sections
    assert [tag["href"][1:] for tag in page.all("a")][: len(sections)] == sections
    for words in ("pairs", "40 images, 35 with truth", "IoU", "Foreground recall", "5 failed"):
        assert words in page.text
    assert "5 of 40 images failed" in page.text  # a finding
    assert "detector.score_threshold=" in page.text
    assert page.all("a", href="a%20b.parquet")


def test_a_run_without_truth_has_no_scores(render):
    page = render(40, truth=False)
    assert "they do not choose" in page.text
    assert "numbers" in page.places
    assert not {"checks", "thresholds", "IoU"} & set(page.places)
    assert "Foreground recall" not in page.text
    assert "Without truth nothing tells whether it helps" in page.text
    assert not page.all("figure", **{"class": "difference"})


def test_numbers_are_those_of_the_summary(run_parts, parse, settings):
    summary, rows, _ = run_parts(40)
    text = parse(render_run(summary, settings, rows)).text
    for key in ("iou", "boundary_iou"):
        assert f"{summary['metrics'][key]['mean']:.3f}" in text
        assert f"p05 {summary['metrics'][key]['p05']:.3f}" in text
    assert f"p95 {summary['metrics']['background_leakage']['p95']:.3f}" in text
    assert f"{rows['ms.detect'].mean():.1f}" in text
    assert re.search(r"Background leakage\s*mean 0\.\d\d, p95 0\.9", text)  # of the histogram
    assert re.search(r"Foreground recall\s*mean 0\.\d\d, p05 0\.0", text)


def test_pictures_are_inside_and_have_words(render):
    page = render(40, count=8)
    images = page.all("img")
    assert len(images) == 4 * len([place for place in page.places if place.startswith("image-")])
    for image in images:
        assert re.match(r"data:image/(jpeg|png);base64,[A-Za-z0-9+/=]+$", image["src"])
        assert re.match(r"(original|cut-out|mask|difference) of c\d/\d{4}\.jpg$", image["alt"])
        assert (image["width"], image["height"]) == ("40", "30")
    assert page.text.index("Worst") < page.text.index("Best") < page.text.index("In between")


def test_findings_lead_to_their_images(render):
    page = render(40, count=8)
    targets = [tag["href"][1:] for tag in page.all("a") if tag["href"].startswith("#")]
    assert set(targets) <= set(page.places)
    assert len(page.places) == len(set(page.places))
    assert {"failed-1", "image-1"} <= set(targets)


def test_how_it_ended_stands_on_top(run_parts, parse, settings):
    def banner(**changed):
        summary, rows, _ = run_parts(14, **changed)
        return parse(render_run(summary, settings, rows)).text.split("bgexp run")[0]

    assert "2 of 14 images failed, more than max_failed=0 allows" in banner(status="failed")
    counts = {"total": 100, "ok": 12, "failed": 2, "skipped": 86}
    stopped = banner(status="interrupted", counts=counts, error="SIGTERM")
    assert "14 of 100 images were worked through" in stopped
    assert "SIGTERM" in stopped
    assert "Run 77aa had the same settings" in banner(reused_from="77aa")
    assert banner().split() == ["sample", "·", "demo", "·", "grabcut"]  # the title


def test_a_run_that_broke_at_once(parse, settings):
    summary = {"schema_version": 1, "status": "failed", "error": "FileNotFoundError: <root>"}
    page = parse(render_run(summary, settings, pd.DataFrame()))
    assert "FileNotFoundError: <root>" in page.text
    assert "There are no results" in page.text
    assert page.all("table") == []


@pytest.mark.parametrize("n", [1, 2, 6])
def test_small_runs(render, n):
    assert len(render(n).all("article")) == n


def test_where_all_failed(run_parts, parse, settings):
    summary, rows, _ = run_parts(21)
    failed = rows[rows["status"] == "failed"].reset_index(drop=True)
    empty = {"metrics": {}, "checks": {}, "refinement": {}, "check_ranks": {}, "timings": {}}
    summary = summary | empty | {"status": "failed", "counts": {"total": 3, "ok": 0, "failed": 3}}
    page = parse(render_run(summary, settings, failed))
    assert "3 of 3 images failed" in page.text
    assert "failed-3" in page.places
    assert "nan" not in page.text
    assert not {"numbers", "distributions", "timings", "images"} & set(page.places)


def test_all_images_are_in_the_table_the_worst_first(run_parts, parse, settings):
    summary, rows, pictures = run_parts(100)
    page = parse(render_run(summary, settings, rows, pictures))
    [order] = page.all("th", **{"aria-sort": "ascending"})
    assert order["class"] == "right"  # IoU
    table = tabulate_images(rows, {rows["path"][3]: "image-1"})
    cells = {row[0].text: row for row in table.rows}
    assert sorted(cells) == sorted(rows["path"])
    ious = [row[2].sort for row in table.rows]
    assert ious[:86] == sorted(ious[:86])
    assert np.isnan(ious[86:]).all()  # those that failed
    assert cells[rows["path"][3]][0].url == "#image-1"
    assert cells[rows["path"][6]][-1].text == "empty: no bytes"
    [waiting] = page.waiting
    assert [row[0][0] for row in waiting] == [row[0].text for row in table.rows[MAX_ROWS:]]
    assert waiting[0][2][:2] == [f"{ious[MAX_ROWS]:.3f}", pytest.approx(ious[MAX_ROWS], rel=1e-5)]
    assert tabulate_images(pd.DataFrame(), {}) is None


def test_most_pictures_of_a_long_gallery_wait(run_parts, parse, settings):
    summary, rows, pictures = run_parts(60, count=40)
    page = parse(render_run(summary, settings, rows, pictures))
    assert len(page.all("template")) == 3  # of the worst, the best and those in between
    assert page.text.count("need this page's script") == 3
    assert len(page.all("article")) == len(pictures)


def test_undefined_numbers_are_dashes(run_parts, parse, settings):
    summary, rows, _ = run_parts(20)
    for kind in ("metrics", "checks"):
        for numbers in summary[kind].values():
            numbers.update(mean=None, median=float("nan"), p05=None, p95=None)
    text = parse(render_run(summary, settings, rows)).text
    assert "\u2013" in text
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_when_and_all_settings(run_parts, parse, settings):
    summary, rows, _ = run_parts(3)
    when = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
    text = parse(render_run(summary, settings, rows, when=when)).text
    assert "2026-11-23 09:05" in text
    assert "detector.labels=null" in text
    assert "force=false" in text


# -- how large, how safe -------------------------------------------------------------------------


def test_a_large_run_makes_a_small_page(run_parts, parse, settings):
    summary, rows, _ = run_parts(4431)
    data = render_run(summary, settings, rows)
    page = parse(data)
    assert len(data) < 1_200_000  # without pictures
    assert len([place for place in page.places if place.startswith("failed-")]) == MAX_ROWS
    assert "and 583 more, see per_image.parquet" in page.text  # 633 failed
    all_images, failed = page.waiting
    assert (len(all_images), len(failed)) == (4431 - MAX_ROWS, 633 - MAX_ROWS)
    assert len([dot for dot in page.all("circle") if "dot" in dot["class"]]) == 500
    assert "500 of 3,798 images drawn" in page.text


def test_nothing_outside_is_asked_for(render):
    page = render(40)
    names = {name for _, attributes in page.tags for name in attributes}
    assert not {"style", "srcset", "action", "background"} & names
    assert not [name for name in names if name.startswith("on")]
    for _, attributes in page.tags:
        assert not leads_outside(attributes.get("href", "").removeprefix("data:"))
        others = [text for name, text in attributes.items() if name != "href"]
        assert "://" not in "".join(others)
        assert attributes.get("src", "data:").startswith("data:")
    assert "://" not in "".join(page.inside.values())
    assert "url(" not in page.inside["style"]
    assert "@import" not in page.inside["style"]


def odd_names(number):
    return f"{number} {HOSTILE[number % len(HOSTILE)]}"


def test_hostile_names_are_text(run_parts, parse, settings):
    def page(names, word):
        summary, rows, pictures = run_parts(28, names=names, count=16)
        rows["fallback"] = rows["fallback"].where(rows["fallback"] == "", word)
        rows["category"] = word
        rows.loc[rows["status"] == "failed", "reason"] = word
        first, second, _ = summary["categories"].values()
        summary["categories"] = {word: first, "b": second}
        summary["dataset"]["name"] = summary["error"] = summary["run_id"] = word
        changed = settings | {"dataset": {"name": word, "root": word}}
        return parse(render_run(summary, changed, rows, pictures, links={word: word}))

    plain = page("{:04}.jpg".format, "harmless")
    for word in HOSTILE:
        hostile = page(odd_names, word)
        assert hostile.skeleton == plain.skeleton
        assert hostile.inside == plain.inside
        assert hostile.text.count(make_printable(word)) >= plain.text.count("harmless")
        for node in hostile.all("a"):
            assert not leads_outside(node["href"])
        named = [odd_names(number) for number in range(28)]
        alts = {node["alt"].partition(" of ")[2] for node in hostile.all("img")}
        assert alts <= {make_printable(name) for name in named}
        assert len(alts) >= 16


@profile(max_examples=25)
@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_any_name_is_text(run_parts, parse, settings, name):
    summary, rows, pictures = run_parts(8, names=lambda number: f"{name}{number}", count=4)
    page = parse(render_run(summary, settings, rows, pictures))
    assert make_printable(f"{name}0") in page.text
    assert len(page.all("script")) == 1  # so few rows wait for none
    assert all(character.isprintable() or character in "\n\u200d" for character in page.text)
