import math

import numpy as np
import pytest

from bgexp.metrics.paired import compute_paired_change
from bgexp.metrics.significance import is_decided, is_trusted
from bgexp.report.wording import describe_change


def test_a_change_is_decided_by_its_interval_and_enough_images():
    better = compute_paired_change([0.5] * 6, [0.6] * 6)
    assert is_decided(better)
    assert is_decided(compute_paired_change([0.6] * 6, [0.5] * 6))
    assert not is_decided(compute_paired_change([0.5] * 5, [0.6] * 5))
    assert not is_decided(compute_paired_change([0.5, 0.6] * 4, [0.6, 0.5] * 4))
    assert describe_change(better) == "+0.100 (95 % interval +0.100 to +0.100, paired on 6 images)"
    assert (
        describe_change(compute_paired_change([0.5], [0.4]))
        == "\u22120.100 on 1 image, too few for an interval"
    )


@pytest.mark.parametrize(
    ("rho", "n", "choose"),
    [
        (0.9, 24, True),
        (-0.9, 24, True),
        (0.9, 6, False),
        (0.64, 24, False),
        (0.64, 400, True),
        (0.5, 100_000, False),
        (1.0, 3, False),
        (math.nan, 400, False),
    ],
)
def test_which_checks_may_choose(rho, n, choose):
    assert is_trusted(rho, n) is choose


def test_a_useless_check_is_seldom_trusted():
    """With a true correlation of 0.5 the sample's lower bound is above 0.5 in about 2.5 %."""
    random = np.random.default_rng(0)
    pearson = 2 * math.sin(math.pi / 6 * 0.5)  # of a bivariate normal with Spearman's 0.5
    hits = 0
    for _ in range(400):
        first, other = random.multivariate_normal([0, 0], [[1, pearson], [pearson, 1]], 60).T
        ranks = [np.argsort(np.argsort(values)) for values in (first, other)]
        hits += is_trusted(float(np.corrcoef(*ranks)[0, 1]), 60)
    assert hits <= 22
