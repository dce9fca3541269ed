import math
from dataclasses import asdict

import pytest

from bgexp.experiment import tables as numbers
from bgexp.metrics.paired import compute_paired_change
from bgexp.report import overview
from bgexp.report.tables import tabulate_timings
from bgexp.sweep.run_result import RunResult
from bgexp.sweep.tables import tabulate_jobs


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


# -- refinement ----------------------------------------------------------------------------------


def describe_refined(pairs):
    """What a summary says of a refinement that took IoU from and to these values."""
    before, after = zip(*pairs, strict=True)
    change = asdict(compute_paired_change(before, after))
    counts = {"n_applied": 7, "n_skipped": 2, "n_refused": 1}
    fields = {"added_ms": 250.4, "added_share": 0.5, "iou": change, "boundary_iou": change}
    return numbers.describe_refinement({"refinement": counts | fields})


def test_refinement_by_hand():
    refinement = describe_refined([(0.5, 0.75)] * 8)
    assert texts(refinement["changes"]) == [
        [name, "0.500", "0.750", "+0.250", "+0.250", "8", "0"] for name in ("IoU", "Boundary IoU")
    ]
    assert refinement["counts"] == "Images: applied 7, skipped 2, refused 1."
    assert refinement["sentence"] == (
        "Refinement helps: mean IoU rises by 0.250. "
        "It adds 250 ms an image, 50% of the time of all other stages."
    )


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([(0.75, 0.5)] * 8, "Refinement hurts: mean IoU falls by 0.250"),
        ([(0.75, 0.5), (0.5, 0.75)] * 4, "undecided"),
        ([(0.5, 0.75)] * 5, "too few images"),
    ],
)
def test_what_refinement_did_in_words(pairs, words):
    assert words in describe_refined(pairs)["sentence"]


def test_refinement_that_was_off_or_without_truth():
    assert numbers.describe_refinement({}) is None
    refinement = numbers.describe_refinement({"refinement": {"added_ms": 9.0, "added_share": 3.25}})
    assert "3.2 times the time of all other stages. Without truth" in refinement["sentence"]
    assert refinement["changes"].rows == []


# -- checks, stages, cards -----------------------------------------------------------------------


def test_which_checks_may_choose():
    ranks = {
        "coverage": {"spearman": 0.3, "n": 400},
        "confidence": {"spearman": 0.8, "n": 400},
        "parts": {"spearman": -0.9, "n": 400},
        "nothing_found": {"spearman": None, "n": 400},
        "border_contact": {"spearman": 0.8, "n": 6},
    }
    table, sentence = numbers.tabulate_ranks({"check_ranks": ranks})
    assert [(row[0], row[1], row[3]) for row in texts(table)] == [
        ("Parts", "\u22120.900", "may choose: lower is better"),
        ("Confidence", "+0.800", "may choose: higher is better"),
        ("Border contact", "+0.800", "not used for choosing"),
        ("Coverage", "+0.300", "not used for choosing"),
        ("Nothing found", "\u2013", "constant: not used for choosing"),
    ]
    assert sentence == "Trusted to choose here: Confidence, Parts; no other check."
    assert numbers.tabulate_ranks({})[0] is None
    assert numbers.tabulate_ranks({})[1].startswith("No check may be trusted")


def test_stages_by_hand():
    stage = {"p50_ms": 10.0, "p95_ms": 20.0}
    fields = {
        "detect": stage | {"total_s": 3.0, "mean_ms": 300.0},
        "refine": stage | {"total_s": 1.0, "mean_ms": 100.0},
    }
    table, bars, sentence = tabulate_timings({"timings": fields, "counts": {"ok": 10}})
    assert sentence == "400 ms an image over 10 images; most of it (75%) in detect."
    assert texts(table)[0] == ["detect", "75.0 %", "300.0", "10.0", "20.0", "3.0"]
    assert [(bar.x, bar.width) for bar in bars] == [(0, 75), (75, 25)]
    assert tabulate_timings({}) == (None, [], "")


def test_cards_name_the_tail_that_is_worse(run_parts):
    summary, _, _ = run_parts(20)
    cards_by_name = {card.name: card for card in numbers.build_cards(summary)}
    assert "p05" in cards_by_name["IoU"].lines[0]
    assert "p95" in cards_by_name["Background leakage"].lines[0]
    assert cards_by_name["Scored"].value == "18"
    assert cards_by_name["Scored"].lines == ("0 undefined", "2 failed")


def test_numbers_of_single_objects(run_parts):
    summary, _, _ = run_parts(20, mask_ap={"ap50": 0.5, "ap_small": math.nan, "ar_10": 0.25})
    rows = {row[0]: row[1] for row in texts(numbers.tabulate_all(summary))}
    assert rows["Mask AP at IoU 0.5"] == "0.500"
    assert rows["Mask AP small"] == "\u2013"
    assert rows["Mask AR 10"] == "0.250"


def test_categories_are_ordered_by_iou(run_parts):
    summary, _, _ = run_parts(40)
    table = numbers.tabulate_categories(summary)
    means = [float(row[1]) for row in texts(table)]
    assert means == sorted(means)
    assert sum(int(row[5]) for row in texts(table)) == 40
    category = {"c0": summary["categories"]["c0"]}
    assert numbers.tabulate_categories(summary | {"categories": category}) is None


def test_detections_that_were_known_are_told(run_parts):
    summary, _, _ = run_parts(20, detections={"computed": 0, "cached": 18})
    [speed] = [fact for fact in overview.build_facts(summary, {}, None) if fact.name == "Speed"]
    assert speed.detail == "detections of 18 images from the cache"


# -- the jobs of a sweep -------------------------------------------------------------------------


def test_how_each_job_stands(run_parts):
    def job(name, ious, **changed):
        summary, rows, _ = run_parts(8, **changed)
        return RunResult(name, (f"seed={name}",), summary, rows.assign(iou=ious))

    low, high = [0.5 + 0.01 * n for n in range(8)], [0.6 + 0.01 * n for n in range(8)]
    near = [iou + 0.01 * (-1) ** n for n, iou in enumerate(high)]
    reused = job("c", low, reused_from="77aa")
    stopped = job("d", low, status="interrupted")

    def standing(*jobs):
        ordered = sorted(jobs, key=lambda job: -job.rows["iou"].mean())
        table = texts(tabulate_jobs(jobs, ordered, [f"job-{n}" for n in range(len(jobs))]))
        return [row[2] for row in sorted(table)]  # the best is on top

    assert standing(job("a", low), job("b", high), reused, stopped) == [
        "", "best", "reused", "interrupted",
    ]  # fmt: skip
    assert standing(job("a", near), job("b", high))[0] == "leads, undecided"
    alone = job("a", low)  # nothing is swept: no column for it
    assert texts(tabulate_jobs([alone], [alone], ["job-0"]))[0][:2] == ["0", ""]
