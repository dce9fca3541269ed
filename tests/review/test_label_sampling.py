"""Which images are chosen: the random half without bias, the other by disagreement alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.review.label_sampling import (
    choose_images,
    find_consensus,
    measure_disagreement,
    sample,
)

PATHS = [
    f"{category}/{n}.jpg"
    for category, size in (("a", 37), ("b", 12), ("c", 1))
    for n in range(size)
]
SCORES = st.dictionaries(
    st.builds("{}/{}.jpg".format, st.sampled_from("abc"), st.integers(0, 30)),
    st.sampled_from([0.0, 0.1, 0.1, 0.5, 1.0]),
    max_size=30,
)


def category_of(path):
    return path.partition("/")[0]


def test_every_image_has_the_same_chance():
    counts = Counter(path for seed in range(2000) for path in sample(PATHS, 10, seed))
    shares = np.array([counts[path] for path in PATHS]) / 2000
    # The standard error of a share of 0.2 is 0.009: a small category is taken no more often.
    assert np.abs(shares - 10 / 50).max() < 0.04


@given(st.integers(1, 50), st.integers(0, 1000))
def test_every_category_has_its_share(n, seed):
    paths = sample(PATHS, n, seed)
    assert len(set(paths)) == n
    assert paths == sorted(paths) == sample(PATHS[::-1], n, seed)
    counts = Counter(map(category_of, paths))
    for name, size in Counter(map(category_of, PATHS)).items():
        assert abs(counts[name] - n * size / 50) < 1


def test_a_mean_over_the_random_half_is_unbiased():
    value = {path: {"a": 0.9, "b": 0.5, "c": 0.0}[category_of(path)] for path in PATHS}
    scores = {path: float(category_of(path) == "c") for path in PATHS}
    means = [
        np.mean([value[c.path] for c in choose_images(scores, 20, seed) if c.why == "random"])
        for seed in range(500)
    ]
    assert np.mean(means) == pytest.approx(np.mean(list(value.values())), abs=0.005)


@given(SCORES, st.integers(2, 40), st.integers(0, 5))
def test_no_image_twice_and_the_farthest_apart_first(scores, n, seed):
    candidates = choose_images(scores, n, seed)
    by_chance = [candidate.path for candidate in candidates if candidate.why == "random"]
    by_disagreement = [candidate for candidate in candidates if candidate.why == "disagreement"]
    assert len({candidate.path for candidate in candidates}) == len(candidates) <= n
    assert by_chance == sample(list(scores), min(len(scores), (n + 1) // 2), seed)
    assert all(candidate.disagreement == scores[candidate.path] for candidate in candidates)
    expected = sorted((s for p, s in scores.items() if p not in by_chance and s > 0), reverse=True)
    assert [candidate.disagreement for candidate in by_disagreement] == expected[: n // 2]


def test_how_far_masks_are_apart_by_hand():
    first = np.array([[1, 1, 0, 0]], bool)
    second = np.array([[0, 1, 1, 0]], bool)
    empty = np.zeros((1, 4), bool)
    assert measure_disagreement([first, second]) == pytest.approx(2 / 3)
    assert measure_disagreement([first, first, second]) == pytest.approx(2 / 3)
    assert measure_disagreement([first, first]) == 0
    assert measure_disagreement([first, empty]) == 1
    assert measure_disagreement([empty, empty]) == 0


def test_a_consensus_by_hand():
    first = np.array([[1, 1, 0, 0]], bool)
    second = np.array([[0, 1, 1, 0]], bool)
    third = np.array([[1, 1, 1, 0]], bool)
    assert find_consensus([first, second]).tolist() == [[False, True, False, False]]
    assert find_consensus([first, second, third]).tolist() == [[True, True, True, False]]
    assert find_consensus([first] * 4).dtype == np.bool_
