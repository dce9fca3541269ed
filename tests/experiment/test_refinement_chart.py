import math

import numpy as np

from bgexp.experiment.refinement_chart import MAX_POINTS, SIDE, plot_change


def test_a_scatter_by_hand():
    before, after = np.array([0.5, 0.25, 0.5, math.nan]), np.array([0.75, 0.25, 0.0, 1.0])
    found = plot_change(before, after, ["a", "b", "c", "d"])
    dots = {point.label[0]: (point.x, point.y, point.kind) for point in found.points}
    assert dots == {
        "a": (0.5 * SIDE, 0.25 * SIDE, "better"),
        "b": (0.25 * SIDE, 0.75 * SIDE, "same"),
        "c": (0.5 * SIDE, SIDE, "worse"),
    }
    assert found.n == 3


def test_of_many_pairs_the_extremes_are_drawn():
    random = np.random.default_rng(0)
    before, after = random.random((2, 4000))
    found = plot_change(before, after, [str(n) for n in range(4000)])
    labels = {point.label.partition(":")[0] for point in found.points}
    assert (len(labels), found.n) == (MAX_POINTS, 4000)
    change = after - before
    assert {str(change.argmax()), str(change.argmin())} <= labels
