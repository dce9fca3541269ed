import itertools
import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from bgexp.config.check import check_settings
from bgexp.config.compose import compose_config, plain
from bgexp.config.run import RunSettings
from bgexp.experiment.findings import run_findings

FINISHED = {"status": "finished"}


@pytest.fixture
def find(table, settings):
    """The findings on rows."""

    def look(rows, summary=FINISHED, **changed):
        return run_findings(table(rows), summary, settings | changed)

    return look


def test_a_good_run_and_an_empty_one_say_nothing(find, row):
    assert find([row(n, 0.9) for n in range(8)]) == []
    assert find([row(n) for n in range(8)]) == []
    assert find([]) == []


# -- failed files --------------------------------------------------------------------------------


def failed(row, number, reason="empty: no bytes"):
    return row(number, status="failed", reason=reason)


def test_failed_files_with_their_reasons(find, row):
    rows = [row(n, 0.9) for n in range(5)] + [failed(row, 5), failed(row, 6), failed(row, 7, "cut")]
    [found] = find(rows)
    assert found.title == "3 of 8 images failed"
    assert "37.5%" in found.evidence
    assert "empty: no bytes (2); cut (1)" in found.evidence
    assert found.paths == ("05.jpg", "06.jpg", "07.jpg")
    assert found.setting == "max_failed=0.38"  # 0.375 rounded up: with 0.37 it would fail again
    assert (found.severity, find(rows, {"status": "failed"})[0].severity) == ("warning", "problem")


def test_files_that_are_too_large_only(find, row):
    reason = "too large: 20000x10001 = 200.02 megapixels, the limit is 200"
    good = [row(n, 0.9) for n in range(5)]
    assert find([*good, failed(row, 5, reason)])[0].setting == "dataset.max_megapixels=201"
    assert find([*good, failed(row, 5, reason), failed(row, 6)])[0].setting == "max_failed=0.29"


def test_where_most_fail_no_limit_is_proposed(find, row):
    [found] = find([failed(row, n) for n in range(4)])
    assert (found.title, found.setting) == ("4 of 4 images failed", "")


# -- nothing found, low scores -------------------------------------------------------------------

NOTHING = {"nothing_found": 1.0, "confidence": math.nan}


def test_nothing_found_costs_the_mean(find, row):
    rows = [row(n, 0.8) for n in range(9)] + [row(9, 0.0, checks=NOTHING)]
    [found] = find(rows)
    assert found.title == "Nothing was found in 1 image"
    assert "10.0%" in found.evidence
    assert "0.800" in found.evidence
    assert found.weight == pytest.approx(0.08)
    assert (found.severity, found.paths) == ("problem", ("09.jpg",))
    assert found.setting == "detector.score_fallback=0.1"  # from 0.3


def test_finding_nothing_in_an_empty_picture_is_right(find, row):
    assert find([row(n, 0.8) for n in range(9)] + [row(9, math.nan, checks=NOTHING)]) == []


def test_nothing_found_without_truth(find, row, settings):
    rows = [row(n) for n in range(29)] + [row(29, checks=NOTHING)]
    [found] = find(rows)
    assert found.severity == "warning"
    assert found.weight == pytest.approx(1 / 30)
    cats = settings["detector"] | {"labels": ["cat"]}
    assert find(rows, detector=cats)[0].setting == "detector.labels=null"
    alone = settings["detector"] | {"score_fallback": None}
    assert find(rows, detector=alone)[0].setting == "detector.score_threshold=0.3"  # from 0.5
    lowest = alone | {"score_threshold": 0.05}
    assert find(rows, detector=lowest)[0].setting == ""


def test_images_below_half(find, row):
    rows = [row(n, 0.9) for n in range(6)]
    rows += [row(6, 0.4, lost=0.1, leaked=0.6), row(7, 0.2, lost=0.3, leaked=0.8)]
    found = find(rows)[0]
    assert found.title == "2 images below an IoU of 0.5"
    assert "20% of the foreground there is lost, and 70%" in found.evidence
    assert "0.750, and 0.900 without" in found.evidence
    assert found.paths == ("07.jpg", "06.jpg")
    assert found.setting == "detector.score_threshold=0.7"  # against what leaks
    assert find([row(n, 0.4) for n in range(8)]) == []  # no few among many


# -- categories ----------------------------------------------------------------------------------


def test_the_weakest_category(find, row):
    good = [row(n, 0.9 + 0.01 * (n % 2)) for n in range(8)]
    weak = [row(8 + n, 0.7 + 0.01 * n, category="b", lost=0.3) for n in range(3)]
    found = find(good + weak)[0]
    assert found.title == "The category b is 0.20 behind the rest"  # 0.905 - 0.71
    assert "0.710 on 3 images, 0.905 on the other 8" in found.evidence
    assert found.setting == "combine.mask_threshold=0.35"  # against what is lost
    assert found.weight == pytest.approx(0.195 * 3 / 11)
    assert find(good + weak[:2]) == []  # two images say nothing


def test_categories_are_judged_as_by_welch(find, row):
    random = np.random.default_rng(0)
    agreed = set()
    for spread, shift in itertools.product((0.02, 0.1, 0.2), (0.0, 0.08, 0.15)):
        one, rest = random.normal(0.8 - shift, spread, 30), random.normal(0.8, spread, 90)
        one, rest = np.clip(one, 0.5, 1), np.clip(rest, 0.5, 1)
        rows = [row(n, iou) for n, iou in enumerate(rest)]
        rows += [row(len(rows) + n, iou, category="b") for n, iou in enumerate(one)]
        statistic = ttest_ind(rest, one, equal_var=False).statistic
        sure = statistic > 2 and rest.mean() - one.mean() > 0.05
        titles = " ".join(found.title for found in find(rows))
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
    def flagged(iou, others):
        rows = [row(n, others) for n in range(8)]
        return find(rows + [row(8 + n, iou, checks=checks) for n in range(2)])

    [found] = flagged(None, None)
    assert word in found.title
    assert (found.severity, found.setting) == ("note", setting)
    assert found.paths == ("08.jpg", "09.jpg")
    assert "20%" in found.evidence
    [found] = flagged(0.6, 0.8)
    assert "0.600, 0.200 below the others'" in found.evidence
    assert flagged(0.79, 0.8) == []
    assert flagged(0.9, 0.8) == []


# -- together ------------------------------------------------------------------------------------


def bad_rows(row):
    """Something of everything."""
    rows = [row(n, 0.9, lost=0.02) for n in range(60)]
    rows += [row(60 + n, 0.6, category="b", leaked=0.4) for n in range(9)]
    rows += [row(70 + n, 0.3, leaked=0.7, checks={"parts": 9.0}) for n in range(9)]
    rows += [row(80 + n, 0.0, checks=NOTHING) for n in range(5)]
    return [*rows, failed(row, 90), failed(row, 91)]


def test_at_most_five_and_the_worst_first(find, row):
    found = find(bad_rows(row), {"status": "failed"})
    assert len(found) == 5
    order = [("problem", "result", "warning", "note").index(one.severity) for one in found]
    assert order == sorted(order)
    for _, group in itertools.groupby(found, key=lambda one: one.severity):
        weights = [one.weight for one in group]
        assert weights == sorted(weights, reverse=True)


def test_every_setting_is_one_that_the_command_line_takes(find, row):
    tried = {one.setting for one in find(bad_rows(row), {"status": "failed"}) if one.setting}
    tried |= {setting for _, setting in CASES.values()}
    assert len(tried) >= 6
    for setting in tried:
        check_settings(RunSettings, plain(compose_config("run", [setting], None)))
