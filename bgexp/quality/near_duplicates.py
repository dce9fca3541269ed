"""Which pictures are the same to the eye: perceptual hashes, and groups of near duplicates."""

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
class Likeness:
    """What two pictures are compared by.

    Attributes:
        structure: 64 bits, a perceptual hash of the luminance's low frequencies.
        gradient: 64 bits, whether it grows brighter from left to right, in 8x8 cells.
        colour: Mean red, green and blue, 0 to 255.
        plain: Whether the picture is too plain to be told from others.
    """

    structure: int
    gradient: int
    colour: tuple[float, float, float]
    plain: bool


def likeness(image: NDArray[np.uint8]) -> Likeness:
    """The hashes (Zauner 2010, by imagehash) of an HxWx3 uint8 RGB image."""
    picture = Image.fromarray(image)
    red, green, blue = image.reshape(-1, 3).mean(axis=0).tolist()
    grey = image @ np.array([0.299, 0.587, 0.114])
    return Likeness(
        int(str(imagehash.phash(picture)), 16),
        int(str(imagehash.dhash(picture)), 16),
        (red, green, blue),
        bool(grey.std() < LEAST_CONTRAST),
    )


def near_duplicates(found: Sequence[Likeness | None], bits: int) -> list[int | None]:
    """For each picture the first earlier one that looks the same; None where there is none.

    Both hashes differ in at most so many bits, and the mean colours hardly. Two hashes that near
    agree in full in one of bits + 1 bands: only those pairs are compared (Norouzi et al. 2012).

    Args:
        found: In the order in which the first of a group is named; None has no likeness.
        bits: Of 64.
    """
    first: list[int | None] = [None] * len(found)
    for number, other in sorted(_pairs(found, bits)):
        one, two = found[number], found[other]
        if first[other] is None and one is not None and two is not None and _alike(one, two, bits):
            first[other] = number if first[number] is None else first[number]
    return first


def _alike(one: Likeness, two: Likeness, bits: int) -> bool:
    near = max(abs(a - b) for a, b in zip(one.colour, two.colour, strict=True)) <= COLOUR
    structure = (one.structure ^ two.structure).bit_count()
    return near and structure <= bits and (one.gradient ^ two.gradient).bit_count() <= bits


def _pairs(found: Sequence[Likeness | None], bits: int) -> set[tuple[int, int]]:
    """Pairs of positions that agree in one band at least, the smaller first."""
    edges = [BITS * n // (bits + 1) for n in range(bits + 2)]
    pairs: set[tuple[int, int]] = set()
    for low, high in pairwise(edges):
        buckets: dict[int, list[int]] = defaultdict(list)
        for number, one in enumerate(found):
            if one is not None and not one.plain:
                buckets[one.structure >> low & (1 << high - low) - 1].append(number)
        for bucket in buckets.values():
            pairs.update(combinations(bucket, 2))
    return pairs
