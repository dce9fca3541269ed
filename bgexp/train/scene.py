"""A training scene: one picture with the exact masks of its objects."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and its N objects.

    Attributes:
        image: HxWx3 uint8 RGB.
        masks: NxHxW bool, each object's visible part.
        labels: (N,) int64, each object's class id; 1 where there is only one class.
        coarse: HxW bool, a detector's mask of the picture; None where there is none.
        void: HxW bool, True = neither object nor background; None: none.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    labels: NDArray[np.int64]
    coarse: NDArray[np.bool_] | None = None
    void: NDArray[np.bool_] | None = None

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """Return the union of all objects, HxW bool."""
        return np.asarray(self.masks.any(axis=0))


class Scenes(Protocol):
    """A source of scenes without end."""

    def draw(self, size: int, rng: np.random.Generator) -> Scene:
        """Draw a random scene with a longer side of `size` pixels."""
        ...
