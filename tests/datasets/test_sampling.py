import itertools
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bgexp.datasets.sampling import sample_items

names = st.text("abé\n%", min_size=1, max_size=3)
trees = st.dictionaries(
    st.sampled_from(["", "a/", "a/b/", "b/", "c/", "é/"]),
    st.sets(names, min_size=1, max_size=30),
    min_size=1,
).map(lambda tree: [f"{place}{name}.jpg" for place, some in tree.items() for name in some])
seeds = st.integers(0, 2**31 - 1)


def count_by_category(some):
    return Counter(Path(path).parent for path in some)


@given(trees, st.integers(1, 200), seeds, st.randoms(use_true_random=False))
def test_a_choice(tree, n, seed, shuffler):
    choice = sample_items(tree, n, seed)
    assert len(choice) == len(set(choice)) == min(n, len(tree))
    assert set(choice) <= set(tree)
    assert choice == sorted(choice)
    shuffler.shuffle(tree)
    assert sample_items(tree, n, seed) == choice


@given(trees, st.integers(1, 200), seeds)
def test_a_choice_is_proportional_and_leaves_no_category_out(tree, n, seed):
    n = min(n, len(tree))
    had, got = count_by_category(tree), count_by_category(sample_items(tree, n, seed))
    quotas = {name: size * n / len(tree) for name, size in had.items()}
    if n >= len(had):
        assert got.keys() == had.keys()
        assert all(got[name] == 1 for name in had if quotas[name] < 1)
    if n < len(had) or min(quotas.values()) >= 1:
        assert all(abs(got[name] - quota) < 1 for name, quota in quotas.items())
        # A larger category never gets less.
        assert all(got[a] >= got[b] for a, b in itertools.permutations(had, 2) if had[a] > had[b])


def test_shares_by_hand():
    some = {"a": 50, "b": 29, "c": 20, "d": 1}
    tree = [f"{name}/{n}" for name, size in some.items() for n in range(size)]
    # Quotas of 10: 5, 2.9, 2, 0.1. One for d; 9 of 99 for the others: 4.55, 2.64, 1.82.
    assert count_by_category(sample_items(tree, 10, 0)) == {
        Path("a"): 4,
        Path("b"): 3,
        Path("c"): 2,
        Path("d"): 1,
    }
    # Fewer than categories: quotas of 2: 1, 0.58, 0.4, 0.02.
    assert count_by_category(sample_items(tree, 2, 0)) == {Path("a"): 1, Path("b"): 1}


def test_the_seed_counts():
    tree = [f"{name}/{n}.jpg" for name in "abcdefgh" for n in range(20)]
    assert len({tuple(sample_items(tree, 16, seed)) for seed in range(10)}) == 10
    # With less than one for each the seed chooses the categories too, and evenly.
    counts = Counter(sample_items(tree, 1, seed)[0][0] for seed in range(400))
    assert min(counts.values()) > 25


def test_the_choice_is_the_same_in_every_process_and_version():
    tree = [f"{place}/{n}" for place, size in (("a", 20), ("b", 6), ("c", 1)) for n in range(size)]
    assert sample_items(tree, 6, 7) == ["a/2", "a/3", "a/8", "a/9", "b/2", "c/0"]
