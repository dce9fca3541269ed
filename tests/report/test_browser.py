"""Pages in a real browser: wide and narrow, by keyboard, with thousands of rows."""

import itertools

import numpy as np
import pytest

from bgexp.experiment.page import render_run
from bgexp.sweep.effects import name_jobs
from bgexp.sweep.page import render_sweep
from bgexp.sweep.run_result import RunResult
from tests.browser import needs_browser, start_browser

pytestmark = [pytest.mark.slow, needs_browser]

CUT_OFF = """[...document.querySelectorAll(".scroll")]
    .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.ariaLabel)"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
COLUMN = """(place, column) => [...document.querySelectorAll(`${place} tbody tr`)]
    .map((row) => row.cells[column].textContent)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with start_browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def sweep(run_parts, tmp_path_factory):
    """The page of 24 jobs."""
    values = itertools.product((0.3, 0.5, 0.7, 0.9), (0.3, 0.5, 0.7), ("none", "unet"))
    overrides = [
        (f"detector.score_threshold={s}", f"combine.mask_threshold={m}", f"refine={r}")
        for s, m, r in values
    ]
    rng, jobs = np.random.default_rng(0), []
    for place, (name, words) in enumerate(zip(name_jobs(overrides), overrides, strict=True)):
        summary, rows, _ = run_parts(14, count=0, images_per_s=1 + float(rng.random()))
        rows["iou"] *= 0.8 + 0.2 * rng.random()
        jobs.append(RunResult(name, words, summary, rows, f"{place}/report.html"))
    page = tmp_path_factory.mktemp("sweep") / "report.html"
    page.write_bytes(render_sweep("sweep", jobs))
    return page


@pytest.fixture(scope="module")
def run(run_parts, settings, tmp_path_factory):
    """The page of 5,000 images, with 60 of them as pictures."""
    summary, rows, pictures = run_parts(5000, count=60)
    page = tmp_path_factory.mktemp("run") / "report.html"
    page.write_bytes(render_run(summary, settings, rows, pictures))
    return page


def test_nothing_of_a_sweep_is_cut_off(browser, sweep):
    browser.open(sweep, 1200)
    assert browser.run(CUT_OFF) == []
    assert browser.run(WIDER) == 0
    browser.open(sweep, 400, dark=True)
    assert browser.run(WIDER) == 0  # what is wider scrolls in its own box
    assert "Jobs" in browser.run(CUT_OFF)


def test_texts_of_the_charts_do_not_touch(browser, sweep):
    browser.open(sweep, 1440)
    touching = browser.run("""[...document.querySelectorAll("svg.chart")].flatMap((chart) => {
        const boxes = [...chart.querySelectorAll("text")]
            .map((text) => ({ text: text.textContent, ...text.getBoundingClientRect().toJSON() }));
        return boxes.flatMap((a, n) => boxes.slice(n + 1)
            .filter((b) => a.left < b.right && b.left < a.right)
            .filter((b) => a.top + 3 < b.bottom && b.top + 3 < a.bottom)
            .map((b) => `${a.text} and ${b.text}`));
    })""")
    assert touching == []


def test_jobs_are_sorted_by_keys_alone(browser, sweep):
    browser.open(sweep)
    best_first = browser.run(f"({COLUMN})('#jobs', 5)")
    assert best_first == sorted(best_first, reverse=True)
    browser.run('document.querySelector("#jobs th button").focus()')
    browser.press("Enter")
    numbers = browser.run(f"({COLUMN})('#jobs', 0)")
    assert numbers == [str(n) for n in range(23, -1, -1)]
    browser.press("Enter")
    assert browser.run(f"({COLUMN})('#jobs', 0)") == numbers[::-1]
    assert browser.run("""[...document.querySelectorAll("#jobs [aria-sort]")]
        .map((head) => [head.textContent, head.ariaSort])""") == [["job", "ascending"]]
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent") == "score threshold"


def test_pointing_at_a_job_shows_it_everywhere(browser, sweep):
    browser.open(sweep)
    browser.run("""document.querySelector('.parallel [data-same="job-7"]')
        .dispatchEvent(new PointerEvent("pointerenter"))""")
    same = browser.run("""[...document.querySelectorAll(".same")].map((place) => place.tagName)""")
    assert sorted(same) == ["TR", "a", "a"]


def test_thousands_of_rows_are_searched_and_sorted(browser, run):
    browser.open(run)
    rows = 'document.querySelectorAll("#all tbody tr").length'
    assert browser.run(rows) == 50
    browser.run('document.querySelector("#all .scroll").scrollTo(0, 1e6)')
    browser.wait_for(f"{rows} == 150")
    browser.run('document.querySelectorAll("#all th button")[2].click()')
    ious = browser.run(f"({COLUMN})('#all', 2)")
    assert ious[0] == "1.000"
    assert ious == sorted(ious, reverse=True)
    for words, n_found in (("c1/4999", 1), ("EMPTY bytes", 714), ("nowhere", 0)):
        browser.run(f"""(() => {{
            const input = document.querySelector("#all input");
            input.value = "{words}";
            input.dispatchEvent(new Event("input"));
        }})()""")
        status = browser.run('document.querySelector("#all [role=status]").textContent')
        assert status == f"{n_found} of 5,000 rows"
        names = browser.run(f"({COLUMN})('#all', 0)")
        assert len(names) == min(n_found, 100)
        assert n_found != 1 or names == ["c1/4999.jpg"]


def test_pictures_come_as_one_scrolls(browser, run):
    browser.open(run)
    count = 'document.querySelectorAll("#images article").length'
    first = browser.run(count)
    assert first < 60
    hidden = browser.run("""[...document.querySelectorAll("template")].at(-1).content
        .lastElementChild.id""")
    browser.run(f"location.hash = '{hidden}'")
    picture = f"document.getElementById('{hidden}')"
    browser.wait_for(f"{picture} && Math.abs({picture}.getBoundingClientRect().top) < 900")
    assert browser.run(f"{picture}.querySelector('.wipe input') !== null")
    line = 'document.querySelector("#images .more:not([hidden])")'
    browser.wait_for(f"{line}?.scrollIntoView(), !{line}")
    assert browser.run(count) == 60
    assert browser.run('document.querySelectorAll("#images .wipe").length') == 60


def test_in_a_frame_without_rights_but_scripts(browser, run, tmp_path):
    """As MLflow shows an artifact: in a frame that is sandboxed."""
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe sandbox="allow-scripts" src="{run.as_uri()}" width=1200 height=800>')
    browser.open(frame)
    inner = browser.find_frame()
    rows = 'document.querySelectorAll("#all tbody tr").length'
    assert inner(rows) == 50
    inner('document.querySelectorAll("#all th button")[0].click()')
    assert inner(rows) == 100
