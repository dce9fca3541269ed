"""Variants against a baseline: who won which images, what is decided, what would decide it."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.compare.common_images import match_images
from bgexp.compare.comparison import compare_variants
from bgexp.compare.findings import find_comparison_findings
from bgexp.compare.verdict import judge_change
from bgexp.metrics.paired import PairedChange, compute_paired_change
from bgexp.metrics.win_rate import Vote

SPREAD = [0.7, 0.75, 0.8, 0.85, 0.9, 0.72, 0.83, 0.88]


def improve_scores(by):
    return [iou + by for iou in SPREAD]


@pytest.fixture
def make_comparison(job):
    """Jobs by their IoU, compared with the first one."""

    def make(metric="iou", cluster=None, categories=None, **ious):
        jobs = []
        for name, values in ious.items():
            made = job(f"x={name}", values, run_id=name)
            made.rows["ms.detect"] = 1000.0
            if categories is not None:
                made.rows["category"] = categories
            jobs.append(made)
        return compare_variants(match_images(jobs), "x=a", metric, cluster)

    return make


def titles(comparison):
    return [finding.title for finding in find_comparison_findings(comparison)]


def test_a_variant_that_is_better_on_all_but_one(make_comparison):
    comparison = make_comparison(a=SPREAD, b=[*improve_scores(0.05)[:-1], 0.87])
    base, variant = comparison.variants
    assert base.verdict is None
    assert (variant.verdict.won, variant.verdict.lost) == (7, 1)
    assert variant.verdict.outcome == variant.verdict.description == "better"
    assert variant.verdict.change.change == pytest.approx((7 * 0.05 - 0.01) / 8)
    assert variant.metrics["iou"] - base.metrics["iou"] == pytest.approx((7 * 0.05 - 0.01) / 8)
    assert titles(comparison)[0] == "x=b is better than x=a"


def test_undecided_and_about_how_many_more_would_decide(make_comparison):
    apart = np.array([0.1, -0.08] * 20)
    comparison = make_comparison(a=SPREAD * 5, b=list(np.array(SPREAD * 5) + apart))
    against = comparison.variants[1].verdict
    assert against.outcome == "undecided"
    # sd 0.09, mean 0.01: (2.8 * 0.09 / 0.01)^2 = 635 images in all, read from 2,000 resamples.
    assert against.images_to_decide == pytest.approx(595, rel=0.1)
    assert (
        against.description
        == f"undecided (about {round(against.images_to_decide, -1)} more images would decide)"
    )
    assert "Nothing is surely better than x=a" in titles(comparison)


def test_practically_nil_needs_no_more_images(make_comparison):
    apart = np.array([0.1, -0.1] * 4) + 0.001
    against = make_comparison(a=SPREAD, b=list(np.array(SPREAD) + apart)).variants[1].verdict
    assert (against.outcome, against.images_to_decide) == ("undecided", None)
    assert against.description == "undecided (and the difference is below 0.005)"


def test_five_images_are_too_few_however_clear(make_comparison):
    against = make_comparison(a=SPREAD[:5], b=improve_scores(0.05)[:5]).variants[1].verdict
    assert (against.outcome, against.images_to_decide) == ("undecided", 1)
    assert against.description == "undecided (about 1 more image would decide)"
    against = make_comparison(a=SPREAD[:2], b=improve_scores(0.05)[:2]).variants[1].verdict
    assert against.description == "undecided (too few images or clusters for an interval)"


def test_where_lower_is_better(job):
    jobs = [job("x=a", SPREAD, run_id="a"), job("x=b", SPREAD, run_id="b")]
    jobs[1].rows["background_leakage"] = 0.02
    comparison = compare_variants(match_images(jobs), "x=a", "background_leakage")
    against = comparison.variants[1].verdict
    assert against.change.change == pytest.approx(0.02 - 0.1)
    assert (against.won, against.lost, against.outcome) == (8, 0, "better")
    assert titles(comparison)[0] == "x=b is better than x=a"
    [effect] = comparison.effects
    assert (effect.worst, effect.best, effect.clear) == ("a", "b", True)


def test_clusters_make_it_undecided(make_comparison):
    # One category of eight gains much, the others lose a little: many images, one observation.
    rng = np.random.default_rng(0)
    categories = [f"c{n // 10}" for n in range(80)]
    base = 0.5 + 0.1 * rng.random(80)
    gain = np.where(np.arange(80) < 10, 0.3, -0.01) + 0.001 * rng.random(80)
    alone = make_comparison(a=list(base), b=list(base + gain), categories=categories)
    whole = make_comparison(
        a=list(base), b=list(base + gain), categories=categories, cluster="category"
    )
    assert alone.variants[1].verdict.outcome == "better"
    assert whole.variants[1].verdict.outcome == "undecided"
    assert alone.variants[1].verdict.change.change == whole.variants[1].verdict.change.change
    assert whole.effects[0].change.low < 0 < whole.effects[0].change.high


def test_images_that_failed_are_in_no_pair(make_comparison):
    comparison = make_comparison(a=[math.nan, *SPREAD], b=[0.1, *improve_scores(0.05)])
    assert comparison.variants[1].verdict.change.n == 8
    assert comparison.variants[1].verdict.change.change == pytest.approx(0.05)


def test_changes_by_category_the_largest_first(make_comparison):
    comparison = make_comparison(
        a=SPREAD,
        b=[*improve_scores(0.01)[:4], *improve_scores(-0.2)[4:]],
        categories=["p"] * 4 + ["q"] * 4,
    )
    table = comparison.by_category
    assert list(table.index) == ["q", "p"]
    assert list(table["images"]) == [4, 4]
    assert list(table["x=b"]) == pytest.approx([-0.2, 0.01])


def test_without_truth_nothing_is_chosen(make_comparison):
    comparison = make_comparison(a=[None] * 8, b=[None] * 8)
    assert not comparison.has_truth
    assert [variant.verdict for variant in comparison.variants] == [None, None]
    assert not any(variant.on_front for variant in comparison.variants)
    [first] = [
        finding for finding in find_comparison_findings(comparison) if finding.severity == "result"
    ]
    assert "Checks warn of images to look at; they never choose." in first.evidence
    assert "bgexp review" in first.evidence
    assert "bgexp select" in first.evidence


def test_the_best_of_many_is_called_lucky(make_comparison):
    names = "bcdefg"
    few = make_comparison(a=SPREAD, b=improve_scores(0.05))
    many = make_comparison(a=SPREAD, **{name: improve_scores(0.05) for name in names})
    assert "looks a little better than it is" not in find_comparison_findings(few)[0].evidence
    assert "The best of 6 looks a little better" in find_comparison_findings(many)[0].evidence


def test_all_worse(make_comparison):
    comparison = make_comparison(a=SPREAD, b=improve_scores(-0.1), c=improve_scores(-0.05))
    finding = find_comparison_findings(comparison)[0]
    assert finding.title == "x=a is better than every other"
    assert "The nearest is x=c" in finding.evidence


def test_what_was_left_out_and_what_else_differs_is_said(make_comparison):
    comparison = dataclasses.replace(
        make_comparison(a=SPREAD, b=SPREAD),
        left_out={"old (1234)": "it is failed"},
        cautions=["Other code"],
    )
    findings = {finding.title: finding for finding in find_comparison_findings(comparison)}
    assert findings["1 run left out"].evidence == "old (1234): it is failed."
    assert findings["Other code"].severity == "warning"


def test_votes(make_comparison):
    def vote(image, improve_scores, worse):
        return Vote(image=f"{image}", left=improve_scores, right=worse, choice="left", judge="j")

    votes = [vote(n, "b", "a") for n in range(9)] + [vote(9, "a", "b")]
    comparison = dataclasses.replace(make_comparison(a=SPREAD, b=SPREAD, c=SPREAD), votes=votes)
    [(_, mine, own), (_, theirs, rate), (_, none, no_rate)] = comparison.preferences
    assert (rate.n, rate.rate, no_rate.n) == (10, 0.9, 0)
    assert math.isnan(own.rate)
    assert mine.rate < 0.5 < theirs.rate
    assert math.isnan(none.rate)
    assert "x=b is preferred by eye" in titles(comparison)
    assert make_comparison(a=SPREAD, b=SPREAD).preferences == []


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=6, max_size=20))
def test_a_verdict_backwards_is_its_opposite(pairs):
    before, after = zip(*pairs, strict=True)
    there, back = (
        judge_change(compute_paired_change(*p), "iou") for p in ((before, after), (after, before))
    )
    assert (there.won, there.lost) == (back.lost, back.won)
    opposite = {"better": "worse", "worse": "better", "undecided": "undecided"}
    assert judge_change(there.change, "mae").outcome == opposite[there.outcome]
    assert (there.images_to_decide is None) or there.images_to_decide > 0


def test_many_images_are_told_roughly():
    change = PairedChange(1000, 0.5, 0.505, 0.006, -0.05, 0.062, 1, 1)
    assert (
        judge_change(change, "iou").description
        == "undecided (about 180,000 more images would decide)"
    )


def test_alpha_is_compared_where_the_truth_is_soft(job):
    jobs = []
    for name, sad in (("a", 0.4), ("b", 0.3)):
        made = job(f"x={name}", SPREAD, run_id=name)
        made.rows["alpha_sad"] = sad + np.array(SPREAD)
        jobs.append(made)
    comparison = compare_variants(match_images(jobs), "x=a", "alpha_sad")
    assert comparison.variants[1].verdict.outcome == "better"
    assert comparison.variants[1].metrics["alpha_sad"] == pytest.approx(0.3 + np.mean(SPREAD))
    assert "alpha_mse" not in comparison.variants[1].metrics


def test_alpha_without_a_soft_truth_is_undefined(make_comparison):
    comparison = make_comparison(metric="alpha_sad", a=SPREAD, b=SPREAD)
    assert math.isnan(comparison.variants[1].metrics["alpha_sad"])
    assert comparison.variants[1].verdict is None
