import itertools
import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, resolve_config
from bgexp.config.run import RunSettings
from bgexp.experiment.findings import find_run_findings

FINISHED = {"status": "finished"}


@pytest.fixture
def find(table, settings):
    """The findings on rows."""

    def find_in_rows(rows, summary=FINISHED, **changed):
        return find_run_findings(table(rows), summary, settings | changed)

    return find_in_rows


def test_a_good_run_and_an_empty_one_say_nothing(find, row):
    assert find([row(n, 0.9) for n in range(8)]) == []
    assert find([row(n) for n in range(8)]) == []
    assert find([]) == []


# -- failed files --------------------------------------------------------------------------------


def make_failed_row(row, number, reason="empty: no bytes"):
    return row(number, status="failed", reason=reason)


def test_failed_files_with_their_reasons(find, row):
    rows = [row(n, 0.9) for n in range(5)] + [
        make_failed_row(row, 5),
        make_failed_row(row, 6),
        make_failed_row(row, 7, "cut"),
    ]
    [finding] = find(rows)
    assert finding.title == "3 of 8 images failed"
    assert "37.5%" in finding.evidence
    assert "empty: no bytes (2); cut (1)" in finding.evidence
    assert finding.paths == ("05.jpg", "06.jpg", "07.jpg")
    assert finding.setting == "max_failed=0.38"  # 0.375 rounded up: with 0.37 it would fail again
    assert (finding.severity, find(rows, {"status": "failed"})[0].severity) == (
        "warning",
        "problem",
    )


def test_files_that_are_too_large_only(find, row):
    reason = "too large: 20000x10001 = 200.02 megapixels, the limit is 200"
    good = [row(n, 0.9) for n in range(5)]
    assert find([*good, make_failed_row(row, 5, reason)])[0].setting == "dataset.max_megapixels=201"
    assert (
        find([*good, make_failed_row(row, 5, reason), make_failed_row(row, 6)])[0].setting
        == "max_failed=0.29"
    )


def test_where_most_fail_no_limit_is_proposed(find, row):
    [finding] = find([make_failed_row(row, n) for n in range(4)])
    assert (finding.title, finding.setting) == ("4 of 4 images failed", "")


# -- nothing found, low scores -------------------------------------------------------------------

NOTHING = {"nothing_found": 1.0, "confidence": math.nan}


def test_nothing_found_costs_the_mean(find, row):
    rows = [row(n, 0.8) for n in range(9)] + [row(9, 0.0, checks=NOTHING)]
    [finding] = find(rows)
    assert finding.title == "Nothing was found in 1 image"
    assert "10.0%" in finding.evidence
    assert "0.800" in finding.evidence
    assert finding.weight == pytest.approx(0.08)
    assert (finding.severity, finding.paths) == ("problem", ("09.jpg",))
    assert finding.setting == "detector.score_fallback=0.1"  # from 0.3


def test_finding_nothing_in_an_empty_picture_is_right(find, row):
    assert find([row(n, 0.8) for n in range(9)] + [row(9, math.nan, checks=NOTHING)]) == []


def test_nothing_found_without_truth(find, row, settings):
    rows = [row(n) for n in range(29)] + [row(29, checks=NOTHING)]
    [finding] = find(rows)
    assert finding.severity == "warning"
    assert finding.weight == pytest.approx(1 / 30)
    cats = settings["detector"] | {"labels": ["cat"]}
    assert find(rows, detector=cats)[0].setting == "detector.labels=null"
    alone = settings["detector"] | {"score_fallback": None}
    assert find(rows, detector=alone)[0].setting == "detector.score_threshold=0.4"  # from 0.6
    lowest = alone | {"score_threshold": 0.05}
    assert find(rows, detector=lowest)[0].setting == ""


def test_images_below_half(find, row):
    rows = [row(n, 0.9) for n in range(6)]
    rows += [row(6, 0.4, lost=0.1, leaked=0.6), row(7, 0.2, lost=0.3, leaked=0.8)]
    finding = find(rows)[0]
    assert finding.title == "2 images below an IoU of 0.5"
    assert "20% of the foreground there is lost, and 70%" in finding.evidence
    assert "0.750, and 0.900 without" in finding.evidence
    assert finding.paths == ("07.jpg", "06.jpg")
    assert finding.setting == "detector.score_threshold=0.8"  # against what leaks
    assert find([row(n, 0.4) for n in range(8)]) == []  # no few among many


# -- categories ----------------------------------------------------------------------------------


def test_the_weakest_category(find, row):
    good = [row(n, 0.9 + 0.01 * (n % 2)) for n in range(8)]
    weak = [row(8 + n, 0.7 + 0.01 * n, category="b", lost=0.3) for n in range(3)]
    finding = find(good + weak)[0]
    assert finding.title == "The category b is 0.20 behind the rest"  # 0.905 - 0.71
    assert "0.710 on 3 images, 0.905 on the other 8" in finding.evidence
    assert finding.setting == "combine.mask_threshold=0.35"  # against what is lost
    assert finding.weight == pytest.approx(0.195 * 3 / 11)
    assert find(good + weak[:2]) == []  # two images say nothing


def test_categories_are_judged_as_by_welch(find, row):
    random = np.random.default_rng(0)
    agreed = set()
    for spread, shift in itertools.product((0.02, 0.1, 0.2), (0.0, 0.08, 0.15)):
        weak, rest = random.normal(0.8 - shift, spread, 30), random.normal(0.8, spread, 90)
        weak, rest = np.clip(weak, 0.5, 1), np.clip(rest, 0.5, 1)
        rows = [row(n, iou) for n, iou in enumerate(rest)]
        rows += [row(len(rows) + n, iou, category="b") for n, iou in enumerate(weak)]
        statistic = ttest_ind(rest, weak, equal_var=False).statistic
        sure = statistic > 2 and rest.mean() - weak.mean() > 0.05
        titles = " ".join(finding.title for finding in find(rows))
        assert ("The category b" in titles) == sure
        agreed.add(sure)
    assert agreed == {True, False}


# -- the larger error, checks --------------------------------------------------------------------


def test_one_error_dominates(find, row):
    [lost] = find([row(n, 0.8, lost=0.02 * n, leaked=0.03) for n in range(10)])
    assert lost.title == "Foreground that gets lost is most of the error"
    assert "9.0% of the true foreground is lost, and 3.0%" in lost.evidence
    assert lost.paths[:2] == ("09.jpg", "08.jpg")
    [leaked] = find([row(n, 0.8, lost=0.03, leaked=0.02 * n) for n in range(10)])
    assert leaked.title == "Background that stays is most of the error"
    assert leaked.paths[:2] == ("09.jpg", "08.jpg")
    assert find([row(n, 0.8, lost=0.09, leaked=0.05) for n in range(10)]) == []  # less than twice


CASES = {
    "unsure": ({"confidence": 0.5}, "detector.image_size=512"),
    "border": ({"border_contact": 0.3}, "combine.instances=central"),
    "pieces": ({"parts": 7.0}, "combine.min_area=0.005"),
    "whole picture": ({"coverage": 0.95}, "combine.mask_threshold=0.7"),
}


@pytest.mark.parametrize(("word", "checks", "setting"), [(w, *case) for w, case in CASES.items()])
def test_checks_warn_where_there_is_no_truth_or_they_are_right(find, row, word, checks, setting):
    def find_flagged(iou, others):
        rows = [row(n, others) for n in range(8)]
        return find(rows + [row(8 + n, iou, checks=checks) for n in range(2)])

    [finding] = find_flagged(None, None)
    assert word in finding.title
    assert (finding.severity, finding.setting) == ("note", setting)
    assert finding.paths == ("08.jpg", "09.jpg")
    assert "20%" in finding.evidence
    [finding] = find_flagged(0.6, 0.8)
    assert "0.600, 0.200 below the others'" in finding.evidence
    assert find_flagged(0.79, 0.8) == []
    assert find_flagged(0.9, 0.8) == []


# -- together ------------------------------------------------------------------------------------


def make_bad_rows(row):
    """Something of everything."""
    rows = [row(n, 0.9, lost=0.02) for n in range(60)]
    rows += [row(60 + n, 0.6, category="b", leaked=0.4) for n in range(9)]
    rows += [row(70 + n, 0.3, leaked=0.7, checks={"parts": 9.0}) for n in range(9)]
    rows += [row(80 + n, 0.0, checks=NOTHING) for n in range(5)]
    return [*rows, make_failed_row(row, 90), make_failed_row(row, 91)]


def test_at_most_five_and_the_worst_first(find, row):
    findings = find(make_bad_rows(row), {"status": "failed"})
    assert len(findings) == 5
    order = [
        ("problem", "result", "warning", "note").index(finding.severity) for finding in findings
    ]
    assert order == sorted(order)
    for _, group in itertools.groupby(findings, key=lambda finding: finding.severity):
        weights = [finding.weight for finding in group]
        assert weights == sorted(weights, reverse=True)


def test_every_setting_is_one_that_the_command_line_takes(find, row):
    tried = {
        finding.setting
        for finding in find(make_bad_rows(row), {"status": "failed"})
        if finding.setting
    }
    tried |= {setting for _, setting in CASES.values()}
    assert len(tried) >= 6
    for setting in tried:
        check_settings(RunSettings, resolve_config(compose_config("run", [setting], None)))
