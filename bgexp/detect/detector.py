"""What the rest of bgexp knows of a detector."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bgexp.detections import Found


class Detector(Protocol):
    """Anything that finds objects in an image, or the soft mask of all of them.

    Attributes:
        score_threshold: Detections count where their score is above it; a soft mask has no score.
        labels: Class ids that count; None for all.
    """

    score_threshold: float
    labels: frozenset[int] | None

    def detect(self, image: NDArray[np.uint8]) -> Found:
        """What is in an image, HxWx3 uint8 RGB: at least all that counts, best score first."""
