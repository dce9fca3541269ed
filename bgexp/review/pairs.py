"""Which pairs a judge sees: of which images, in which order, on which sides."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from bgexp.datasets.sampling import choose

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
    """The pairs in the order in which they are judged; the same seed gives the same.

    Every two runs are compared about equally often, on images where their masks differ, each
    category by its share. Repeated are pairs of the first half, in the second half.

    Args:
        run_ids: Two or more.
        masks: By image, what tells the runs' masks apart, in the order of the ids.
        n: Pairs, where there are so many that differ.
        repeats: How many of them come again.
        seed: Of images, order and sides.
    """
    rng = np.random.default_rng(seed)
    pairs = _couples(run_ids, masks, n, seed)
    mixed = [pairs[place] for place in rng.permutation(len(pairs))]
    turned = [_swapped(pair) if rng.random() < 0.5 else pair for pair in mixed]
    half = (len(turned) + 1) // 2
    again = rng.permutation(half)[:repeats]
    late = turned[half:] + [replace(_swapped(turned[place]), repeat=True) for place in again]
    return turned[:half] + [late[place] for place in rng.permutation(len(late))]


def _couples(
    run_ids: Sequence[str], masks: Mapping[str, Sequence[Fingerprint]], n: int, seed: int
) -> list[ReviewPair]:
    """Round by round: no image comes again before all others have come."""
    couples = list(combinations(range(len(run_ids)), 2))
    left = {
        image: [couple for couple in couples if found[couple[0]] != found[couple[1]]]
        for image, found in masks.items()
    }
    used: Counter[tuple[int, int]] = Counter()
    pairs: list[ReviewPair] = []
    while len(pairs) < n and (left := {image: some for image, some in left.items() if some}):
        for image in choose(left, n - len(pairs), seed):
            couple = min(left[image], key=lambda one: used[one])
            left[image].remove(couple)
            used[couple] += 1
            pairs.append(ReviewPair(image, run_ids[couple[0]], run_ids[couple[1]]))
    return pairs


def _swapped(pair: ReviewPair) -> ReviewPair:
    return replace(pair, left=pair.right, right=pair.left)
