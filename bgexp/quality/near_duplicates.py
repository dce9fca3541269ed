"""Near duplicates: pictures that look the same, by perceptual hashes, and their groups."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 64
# Below this standard deviation of the luminance a picture is too plain to be told from others.
LEAST_CONTRAST = 4.0
COLOUR = 12.0  # the largest difference of the mean colours, in levels of 255


@dataclass(frozen=True)
class PictureFeatures:
    """The features by which two pictures are compared.

    Attributes:
        structure: 64 bits, a perceptual hash of the luminance's low frequencies.
        gradient: 64 bits, whether luminance grows from left to right, in 8x8 cells.
        colour: Mean red, green and blue, 0 to 255.
        plain: Whether the picture is too plain to be told from others.
    """

    structure: int
    gradient: int
    colour: tuple[float, float, float]
    plain: bool


def compute_likeness(image: NDArray[np.uint8]) -> PictureFeatures:
    """Compute the hashes (Zauner 2010, by imagehash) of an HxWx3 uint8 RGB image."""
    picture = Image.fromarray(image)
    red, green, blue = image.reshape(-1, 3).mean(axis=0).tolist()
    grey = image @ np.array([0.299, 0.587, 0.114])
    return PictureFeatures(
        int(str(imagehash.phash(picture)), 16),
        int(str(imagehash.dhash(picture)), 16),
        (red, green, blue),
        bool(grey.std() < LEAST_CONTRAST),
    )


def find_near_duplicates(features: Sequence[PictureFeatures | None], bits: int) -> list[int | None]:
    """Return the index of the first earlier picture that looks the same, for each; else None.

    Both hashes differ in at most `bits` bits, and the mean colours hardly. Two hashes that near
    agree in full in one of bits + 1 bands: only those pairs are compared (Norouzi et al. 2012).

    Args:
        features: Of the pictures; the first of a group names it; None has no features.
        bits: The largest Hamming distance, of 64 bits.
    """
    first: list[int | None] = [None] * len(features)
    for index, later in sorted(_pair_candidates(features, bits)):
        a, b = features[index], features[later]
        if first[later] is None and a is not None and b is not None and _are_alike(a, b, bits):
            first[later] = index if first[index] is None else first[index]
    return first


def _are_alike(a: PictureFeatures, b: PictureFeatures, bits: int) -> bool:
    same_colour = max(abs(x - y) for x, y in zip(a.colour, b.colour, strict=True)) <= COLOUR
    structure = (a.structure ^ b.structure).bit_count()
    return same_colour and structure <= bits and (a.gradient ^ b.gradient).bit_count() <= bits


def _pair_candidates(features: Sequence[PictureFeatures | None], bits: int) -> set[tuple[int, int]]:
    """Return pairs of positions that agree in one band at least, the smaller first."""
    edges = [BITS * band // (bits + 1) for band in range(bits + 2)]
    pairs: set[tuple[int, int]] = set()
    for low, high in pairwise(edges):
        buckets: dict[int, list[int]] = defaultdict(list)
        for index, likeness in enumerate(features):
            if likeness is not None and not likeness.plain:
                buckets[likeness.structure >> low & (1 << high - low) - 1].append(index)
        for bucket in buckets.values():
            pairs.update(combinations(bucket, 2))
    return pairs
