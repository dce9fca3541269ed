"""The page of a comparison, taken apart as a browser would."""

import dataclasses
import math
from datetime import UTC, datetime

import numpy as np
import pytest

from bgexp.compare.common_images import match_images
from bgexp.compare.comparison import compare_variants
from bgexp.compare.forest_plot import WIDE, Interval, lay_out_forest
from bgexp.compare.heat_map import MAX_CATEGORIES, build_heat_map
from bgexp.compare.page import render_compare
from bgexp.metrics.aggregation import aggregate
from bgexp.metrics.win_rate import Vote
from bgexp.sweep.run_result import RunResult
from tests.pages import leads_outside

SETTINGS = {"runs": ["last"], "metric": "iou"}


@pytest.fixture(scope="session")
def make_comparison(run_parts):
    """Four runs, two settings with two values each."""

    def make(truth=True, names=None, n=28, metric="iou", word="", categories=None):
        jobs = []
        for place in range(4):
            summary, rows, _ = run_parts(n, truth, count=0, names=names)
            summary |= {"run_id": f"{place}abcdef0123"}
            rows["iou"] = (rows["iou"] * (0.7 + 0.1 * place)).clip(0, 1)
            rows["check.coverage"] *= 0.7 + 0.1 * place
            if categories is not None:
                rows["category"] = [f"{word}c{n % categories}" for n in range(len(rows))]
            overrides = (f"refine{word}={'ab'[place // 2]}{word}", f"a.score={place % 2}")
            jobs.append(RunResult(f"{word}run {place}", overrides, summary, rows))
        return compare_variants(match_images(jobs), f"{word}run 0", metric)

    return make


def pictures(comparison, count=2):
    small = np.full((6, 8, 3), 100, np.uint8)
    paths = list(comparison.runs[0].rows["path"][:count])
    return {
        p: dict.fromkeys(["original", *(j.name for j in comparison.runs)], small) for p in paths
    }


def test_a_comparison_with_truth(make_comparison, parse):
    made = make_comparison()
    when = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
    pages = {"run 1": "../../run/x/report.html"}
    page = parse(render_compare(made, SETTINGS, pictures(made), when, pages, {"c.json": "c.json"}))
    sections = ["findings", "runs", "paired", "tradeoff", "categories", "effects", "images"]
    assert [place for place in page.places if place in sections] == sections
    assert "4 runs on 28 images" in page.text
    assert "run 3 is better than run 0" in page.text
    assert "2026-11-23 09:05" in page.text
    links = [tag["href"] for tag in page.all("a") if "report.html" in tag["href"]]
    assert links == ["../../run/x/report.html"]
    dots = [dot for dot in page.all("circle") if "dot" in dot["class"].split()]
    assert len(dots) == 3 + 4  # the forest, and quality against time
    assert len(page.all("polyline", **{"class": "front"})) == 1
    assert len(page.all("img")) == 2 * 5
    assert "nan" not in page.text


def test_a_comparison_without_truth(make_comparison, parse):
    made = make_comparison(truth=False)
    page = parse(render_compare(made, SETTINGS, pictures(made)))
    assert "they warn, they never choose" in page.text
    assert "bgexp review" in page.text
    assert not {"paired", "tradeoff", "categories", "agreement"} & set(page.places)
    assert "IoU" not in page.text
    assert "nan" not in page.text


def test_votes_and_agreement(make_comparison, parse):
    made = make_comparison()
    ids = [variant.run_id for variant in made.variants]
    votes = [
        Vote(image=f"{n}", left=ids[1], right=ids[0], choice="left", judge="j") for n in range(12)
    ]
    agreed = {key: aggregate([0.5, 0.75, math.nan]) for key in ("iou", "boundary_iou", "dice")}
    variants = [dataclasses.replace(base, agreement=agreed) for base in made.variants[:2]]
    made = dataclasses.replace(
        made, votes=votes, reference="teacher (12ab)", variants=[*variants, *made.variants[2:]]
    )
    page = parse(render_compare(made, SETTINGS))
    assert {"votes", "agreement"} <= set(page.places)
    assert "agreement.boundary_iou" in page.text
    assert "teacher (12ab)" in page.text
    assert "0.625" in page.text
    assert "100%" in page.text
    assert "nan" not in page.text


@pytest.mark.parametrize("categories", [1, 3, 28])
def test_the_map_of_categories(make_comparison, parse, categories):
    made = make_comparison(categories=categories)
    heat_map = build_heat_map(made)
    if categories == 1:
        assert heat_map is None
        assert "categories" not in parse(render_compare(made, SETTINGS)).places
        return
    assert len(heat_map.rows) == categories if categories < 28 else len(heat_map.rows) > 20
    assert heat_map.columns == ["1", "2", "3"]
    changes = np.array([[cell.value for cell in cells] for _, _, cells in heat_map.rows])
    assert (np.diff(np.abs(changes).max(axis=1)) <= 0).all()
    for _, count, cells in heat_map.rows:
        assert 1 <= count <= 10
        for cell in cells:
            assert (cell.tone == "") == (abs(cell.value) < 0.005)
            assert cell.tone.startswith("better" if cell.value >= 0.005 else "")


def test_the_map_is_cut_off_and_says_so(make_comparison, parse):
    made = make_comparison(n=60, categories=60)
    heat_map = build_heat_map(made)
    assert len(heat_map.rows) == MAX_CATEGORIES
    assert heat_map.n_hidden > 0
    text = parse(render_compare(made, SETTINGS)).text
    assert "; the 30 that differ most" in text
    assert f"and {heat_map.n_hidden} more, see compare.json" in text


def test_where_lower_is_better_colours_and_words_turn(make_comparison, parse):
    made = make_comparison(metric="mae")
    for job, step in zip(made.runs, range(4), strict=True):
        job.rows["mae"] = job.rows["mae"] + 0.03 * step
    made = compare_variants(made.matched, "run 0", "mae")
    tones = {cell.tone for _, _, cells in build_heat_map(made).rows for cell in cells}
    assert {tone.partition("-")[0] for tone in tones} == {"worse"}
    text = parse(render_compare(made, SETTINGS)).text
    assert "Down is better, left is faster." in text
    assert "lower is better" in text


def test_hostile_names_are_text(make_comparison, parse):
    def page(word):
        made = make_comparison(names=f"{{:04}}{word}".format, word=word, categories=3)
        made = dataclasses.replace(made, left_out={word: word}, reference=word)
        return parse(render_compare(made, {word: word}, pictures(made), links={word: word}))

    plain = page("harmless")
    for word in ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "javascript:x"):
        hostile = page(word)
        assert [node for node in hostile.skeleton if node[0] != "text"] == [
            node for node in plain.skeleton if node[0] != "text"
        ]
        assert hostile.inside == plain.inside
        for node in hostile.all("a"):
            assert not leads_outside(node["href"])


# -- the forest ----------------------------------------------------------------------------------


def test_a_forest_by_hand():
    forest = lay_out_forest(
        [
            Interval("a", 0.5, 0.0, 1.0, "better", "a"),
            Interval("b", -1.0, math.nan, math.nan, "", "b"),
            Interval("c", math.nan, math.nan, math.nan, "", "c"),
        ]
    )
    a, b = forest.rows  # the axis goes from -1 to 1, with a margin of 12
    assert forest.zero == WIDE / 2
    assert a.line == (WIDE / 2, WIDE - 12)
    assert a.dot == pytest.approx(12 + 0.75 * (WIDE - 24))
    assert (b.dot, b.line) == (12, None)
    assert a.y < b.y < forest.floor < forest.height
    assert lay_out_forest([]).rows == []


def test_a_forest_of_no_change_has_an_axis():
    forest = lay_out_forest([Interval("a", 0.0, 0.0, 0.0, "", "")])
    assert forest.rows[0].dot == forest.zero == WIDE / 2
    assert len(forest.ticks) >= 2
