"""Which images are worth a label: some by chance, for an estimate; some where variants disagree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bgexp.system.hashing import hash_bytes

RANDOM, DISAGREEMENT = "random", "disagreement"


@dataclass(frozen=True)
class LabelCandidate:
    """An image to label.

    Attributes:
        path: In the dataset.
        why: By chance, or because the variants disagree.
        disagreement: How far, 0 to 1, as `measure_disagreement` computes it.
    """

    path: str
    why: Literal["random", "disagreement"]
    disagreement: float


def choose_images(scores: Mapping[str, float], n: int, seed: int) -> list[LabelCandidate]:
    """Choose half of n by chance (one more if n is odd), the rest where variants disagree most.

    No image is chosen twice; there are fewer than n where variants disagree on too few.

    Args:
        scores: How far the variants disagree, 0 to 1, by path.
        n: How many images.
        seed: Of the random half.
    """
    by_chance = sample(list(scores), min(len(scores), (n + 1) // 2), seed)
    free = scores.keys() - set(by_chance)
    order = sorted((path for path in free if scores[path] > 0), key=lambda p: (-scores[p], p))
    return [LabelCandidate(path, "random", scores[path]) for path in by_chance] + [
        LabelCandidate(path, "disagreement", scores[path]) for path in order[: n // 2]
    ]


def sample(paths: Sequence[str], n: int, seed: int) -> list[str]:
    """Draw n paths, sorted: every image has the same chance, every category its share.

    The share is kept to less than one image. Drawn systematically from the images in the order of
    their categories, shuffled within (Cochran, "Sampling Techniques", 1977, chapter 8): so a plain
    mean over the sample is an unbiased estimate of the mean over all, small categories included.
    """
    order = sorted(
        paths,
        key=lambda path: (
            PurePosixPath(path).parent.as_posix(),
            hash_bytes(f"{seed} {path}".encode()),
        ),
    )
    start = np.random.default_rng(seed).random()
    places = np.floor((np.arange(n) + start) * len(order) / max(1, n)).astype(int)
    return sorted(order[place] for place in places)


def measure_disagreement(masks: Iterable[NDArray[np.bool_]]) -> float:
    """Return how far masks of one image disagree: 1 - IoU of all of them; 0 where all are empty.

    Args:
        masks: HxW bool each, of one size.
    """
    stack = np.stack(list(masks))
    union = int(stack.any(axis=0).sum())
    return 1 - int(stack.all(axis=0).sum()) / union if union else 0.0


def find_consensus(masks: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return the pixels that more than half of the masks (HxW bool) have, HxW bool."""
    stack = np.stack(list(masks))
    return np.asarray(2 * stack.sum(axis=0) > len(stack), np.bool_)
