"""What the rest of bgexp knows of a detector."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bgexp.detections import Detections


class Detector(Protocol):
    """Anything that finds objects in an image.

    Attributes:
        score_threshold: Detections count where their score is above it.
        labels: Class ids that count; None for all.
    """

    score_threshold: float
    labels: frozenset[int] | None

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What is in an image, HxWx3 uint8 RGB: at least all that counts, best score first."""
