"""Which pairs a judge sees: of which images, in which order, on which sides."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from bgexp.datasets.sampling import sample_items

Fingerprint = tuple[int, int]


@dataclass(frozen=True)
class ReviewPair:
    """Two results of one image.

    Attributes:
        image: Its path.
        left, right: Ids of the runs.
        repeat: Whether the two were shown before, with their sides swapped.
    """

    image: str
    left: str
    right: str
    repeat: bool = False


def plan_pairs(
    run_ids: Sequence[str],
    masks: Mapping[str, Sequence[Fingerprint]],
    n: int,
    repeats: int,
    seed: int,
) -> list[ReviewPair]:
    """Plan the pairs in the order in which they are judged; the same seed gives the same.

    Every two runs are compared about equally often, on images where their masks differ, each
    category by its share. Pairs of the first half are repeated in the second half.

    Args:
        run_ids: Two or more.
        masks: By image, what tells the runs' masks apart, in the order of the ids.
        n: How many pairs; fewer where fewer differ.
        repeats: How many of them come again.
        seed: Of images, order and sides.
    """
    rng = np.random.default_rng(seed)
    pairs = _pair_runs(run_ids, masks, n, seed)
    shuffled = [pairs[place] for place in rng.permutation(len(pairs))]
    turned = [_swap_sides(pair) if rng.random() < 0.5 else pair for pair in shuffled]
    half = (len(turned) + 1) // 2
    repeated = rng.permutation(half)[:repeats]
    late = turned[half:] + [replace(_swap_sides(turned[place]), repeat=True) for place in repeated]
    return turned[:half] + [late[place] for place in rng.permutation(len(late))]


def _pair_runs(
    run_ids: Sequence[str], masks: Mapping[str, Sequence[Fingerprint]], n: int, seed: int
) -> list[ReviewPair]:
    """Pair runs round by round: no image is used again before all others have been used."""
    couples = list(combinations(range(len(run_ids)), 2))
    unused = {
        image: [couple for couple in couples if fingerprints[couple[0]] != fingerprints[couple[1]]]
        for image, fingerprints in masks.items()
    }
    counts: Counter[tuple[int, int]] = Counter()
    pairs: list[ReviewPair] = []
    while len(pairs) < n and (unused := {i: left for i, left in unused.items() if left}):
        for image in sample_items(unused, n - len(pairs), seed):
            couple = min(unused[image], key=lambda couple: counts[couple])
            unused[image].remove(couple)
            counts[couple] += 1
            pairs.append(ReviewPair(image, run_ids[couple[0]], run_ids[couple[1]]))
    return pairs


def _swap_sides(pair: ReviewPair) -> ReviewPair:
    return replace(pair, left=pair.right, right=pair.left)
