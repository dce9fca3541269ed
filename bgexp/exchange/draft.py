"""What is written as a first draft of an image's annotations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LABEL = "foreground"  # the one name that all that was found has


@dataclass(frozen=True, eq=False)
class Draft:
    """An image and the mask that was found in it.

    Attributes:
        path: Relative to the folder of images, POSIX.
        mask: HxW bool, True = foreground, of the upright image.
    """

    path: str
    mask: NDArray[np.bool_]

    @property
    def height(self) -> int:
        """Return the height of the image in pixels."""
        return int(self.mask.shape[0])

    @property
    def width(self) -> int:
        """Return the width of the image in pixels."""
        return int(self.mask.shape[1])
