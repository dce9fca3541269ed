"""What the rest of bgexp knows of a detector."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bgexp.detect.detections import DetectorOutput, Selection


class Detector(Protocol):
    """A network that finds objects in an image, or the soft mask of all of them.

    Attributes:
        selection: Which detections count; of no use where it finds a soft mask.
    """

    selection: Selection

    def detect(self, image: NDArray[np.uint8]) -> DetectorOutput:
        """Detect in an image, HxWx3 uint8 RGB: at least all that counts, best score first."""


class MeasuredDetector(Detector, Protocol):
    """A detector for the image of one file.

    Attributes:
        cached: Whether its output came from a cache; None before `detect`.
        network_ms: Milliseconds that its output took, whenever it was made.
    """

    cached: bool | None
    network_ms: float


class FileDetectors(Protocol):
    """What gives a detector for each file of a dataset."""

    def for_file(self, sha256: str, path: str) -> MeasuredDetector:
        """Return a detector for the file of this hash, at this path in the dataset."""
        ...
