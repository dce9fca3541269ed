"""Which pairs a judge sees: of what differs, evenly, in an order and on sides of chance."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgexp.review.pairs import plan_pairs

IDS = ["a", "b", "c"]


def make_masks(n, runs=3, same=()):
    """Make fingerprints of n images in three categories; those in `same` are equal."""
    return {
        f"c{image % 3}/{image}.jpg": [(0 if image in same else run, 1) for run in range(runs)]
        for image in range(n)
    }


def drop_repeats(pairs):
    return [pair for pair in pairs if not pair.repeat]


def test_the_same_seed_gives_the_same_pairs():
    assert plan_pairs(IDS, make_masks(30), 12, 3, 7) == plan_pairs(IDS, make_masks(30), 12, 3, 7)
    assert plan_pairs(IDS, make_masks(30), 12, 3, 7) != plan_pairs(IDS, make_masks(30), 12, 3, 8)


def test_every_two_runs_meet_equally_often_on_images_of_every_category():
    pairs = drop_repeats(plan_pairs(IDS, make_masks(30), 12, 0, 0))
    assert set(Counter(frozenset((pair.left, pair.right)) for pair in pairs).values()) == {4}
    assert set(Counter(pair.image.partition("/")[0] for pair in pairs).values()) == {4}
    assert len({pair.image for pair in pairs}) == 12


def test_where_images_are_few_they_come_again_with_other_runs():
    pairs = drop_repeats(plan_pairs(IDS, make_masks(3), 12, 0, 0))
    assert len(pairs) == 9
    assert len({(pair.image, frozenset((pair.left, pair.right))) for pair in pairs}) == 9


def test_equal_results_are_not_shown():
    pairs = plan_pairs(["a", "b"], make_masks(6, 2, same={0, 1, 2, 3}), 10, 0, 0)
    assert {pair.image for pair in pairs} == {"c1/4.jpg", "c2/5.jpg"}
    assert plan_pairs(["a", "b"], make_masks(3, 2, same={0, 1, 2}), 10, 4, 0) == []


def test_sides_are_of_chance():
    pairs = [
        pair
        for seed in range(20)
        for pair in plan_pairs(["a", "b"], make_masks(10, 2), 10, 0, seed)
    ]
    assert 0.4 < sum(pair.left == "a" for pair in pairs) / len(pairs) < 0.6


@given(
    st.integers(0, 20),
    st.integers(1, 12),
    st.integers(0, 5),
    st.integers(0, 50),
    st.sets(st.integers(0, 20)),
)
def test_repeated_are_pairs_of_before_with_swapped_sides(images, n, repeats, seed, same):
    pairs = plan_pairs(IDS, make_masks(images, same=same), n, repeats, seed)
    originals = drop_repeats(pairs)
    assert len(originals) == min(n, 3 * len(set(range(images)) - same))
    assert len(pairs) - len(originals) == min(repeats, (len(originals) + 1) // 2)
    for place, pair in enumerate(pairs):
        assert pair.left != pair.right
        if pair.repeat:
            swapped = [(p.image, p.right, p.left) for p in pairs[: (len(originals) + 1) // 2]]
            assert (pair.image, pair.left, pair.right) in swapped
            assert place >= (len(originals) + 1) // 2


@pytest.mark.parametrize("n", [1, 2])
def test_the_smallest_review(n):
    assert len(plan_pairs(["a", "b"], make_masks(1, 2), n, 1, 0)) == 2
