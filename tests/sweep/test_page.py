import dataclasses
import re
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from bgexp.sweep.effects import name_jobs
from bgexp.sweep.page import choose_disagreeing, choose_variants, render_sweep
from bgexp.sweep.run_result import RunResult
from tests.pages import leads_outside


@pytest.fixture(scope="session")
def jobs(run_parts):
    """Four jobs, two settings with two values each; with truth or without."""

    def make(truth=True, names=None, n=28):
        overrides = [
            (f"refine={r}", f"a.score={s}", "seed=1") for r in ("no", "cut") for s in (1, 2)
        ]
        results = []
        for place, (name, job_overrides) in enumerate(
            zip(name_jobs(overrides), overrides, strict=True)
        ):
            summary, rows, _ = run_parts(n, truth, count=0, names=names, images_per_s=1.0 + place)
            rows["iou"] = (rows["iou"] * (0.7 + 0.1 * place)).clip(0, 1)
            rows["check.coverage"] *= 0.7 + 0.1 * place
            results.append(RunResult(name, job_overrides, summary, rows, f"{place}/report.html"))
        return results

    return make


def pictures(jobs, count=3):
    small = np.full((6, 8, 3), 100, np.uint8)
    shown = ["original", *(job.name for job in choose_variants(jobs))]
    return {path: dict.fromkeys(shown, small) for path in choose_disagreeing(jobs, count)}


def test_a_sweep_with_truth(jobs, parse):
    made = jobs()
    when = datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
    page = parse(render_sweep("sweep 7", made, pictures(made), when, {"jobs.csv": "jobs.csv"}))
    sections = ["findings", "jobs", "overview", "effects", "thresholds", "tradeoff"]
    sections += ["refinement", "checks", "images"]
    assert [place for place in page.places if place in sections] == sections
    assert [tag["href"] for tag in page.all("a") if "report.html" in tag["href"]] == [
        f"{n}/report.html"
        for n in (3, 2, 1, 0)  # the best first
    ]
    assert [tag["id"] for tag in page.all("tr") if "id" in tag] == [
        "job-3",
        "job-2",
        "job-1",
        "job-0",
    ]
    [order] = page.all("th", **{"aria-sort": "descending"})
    assert order["class"] == "right"
    for words in (
        "sweep 7",
        "4 of 4 jobs finished",
        "2026-11-23 09:05",
        "seed=1",
        "refine=cut score=2",
    ):
        assert words in page.text
    assert page.text.count("best") >= 2  # the finding and the table
    assert len([dot for dot in page.all("circle") if "dot" in dot["class"]]) == 4
    assert len([line for line in page.all("polyline") if "trace" in line["class"]]) == 4
    images = page.all("img")
    assert len(images) == 3 * 5
    assert images[0]["alt"] == "original: 0027.jpg" or images[0]["alt"].startswith("original: c")
    assert re.search(r"refine=no score=1\s*IoU 0\.\d{3}", page.text)


def test_a_sweep_without_truth(jobs, parse):
    made = jobs(truth=False)
    page = parse(render_sweep("s", made, pictures(made)))
    assert "Without truth no job is the best one" in page.text
    assert "they warn, they do not choose" in page.text
    assert not {"tradeoff", "checks", "thresholds"} & set(page.places)
    assert "IoU" not in page.text
    assert "nan" not in page.text


def test_jobs_that_broke_and_that_were_reused(jobs, parse):
    first, second, third, _ = jobs()
    broke = RunResult(
        "x", ("refine=x",), {"status": "failed", "error": "no <weights>"}, pd.DataFrame()
    )
    reused = dataclasses.replace(second, summary={**second.summary, "reused_from": "77aa"})
    page = parse(render_sweep("s", [first, reused, third, broke]))
    assert "3 of 4 jobs finished" in page.text
    assert "no <weights>" in page.text
    assert "reused" in page.text
    assert "nan" not in page.text
    assert parse(render_sweep("s", [broke])).text.count("failed") >= 1
    assert parse(render_sweep("s", [])).all("circle") == []


def test_where_the_jobs_are_farthest_apart(jobs):
    made = jobs()
    apart = choose_disagreeing(made, 3)
    assert apart[0] == max(made[0].rows.dropna(subset=["iou"])["path"], key=lambda path: path[-8:])
    assert choose_disagreeing([made[0], made[0]], 3) == []  # they agree everywhere


def test_the_variants_that_are_shown(jobs):
    made = jobs()
    assert choose_variants(made) == made
    assert [job.name for job in choose_variants(made, 2)] == [made[0].name, made[3].name]
    assert [job.name for job in choose_variants(made, 1)] == [made[3].name]  # the best one
    assert len(choose_variants(jobs(truth=False), 3)) == 3
    assert choose_variants([]) == []


def test_hostile_names_are_text(jobs, parse):
    def page(names, word):
        made = [
            dataclasses.replace(
                job, name=f"{word} {n}", overrides=(f"k{word}={word}{n}", f"z={word}")
            )
            for n, job in enumerate(jobs(names=names))
        ]
        broke = {"status": "failed", "error": word}
        made[1] = dataclasses.replace(made[1], summary=broke, rows=pd.DataFrame(), link=f"{word}/r")
        return parse(render_sweep(word, made, pictures(made), links={word: word}))

    plain = page("{:04}.jpg".format, "harmless")
    for word in (
        "<img src=x onerror=alert(1)>",
        '"><script>alert(2)</script>',
        "a'\nb",
        "javascript:x",
    ):
        hostile = page(f"{{:04}}{word}".format, word)
        assert [node for node in hostile.skeleton if node[0] != "text"] == [
            node for node in plain.skeleton if node[0] != "text"
        ]  # a longer name may have no room in the chart
        assert hostile.inside == plain.inside
        for node in hostile.all("a"):
            assert not leads_outside(node["href"])
