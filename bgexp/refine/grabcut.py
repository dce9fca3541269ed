"""A coarse mask to one that follows the image's edges, by GrabCut in a narrow band.

Rother et al., "GrabCut", SIGGRAPH 2004; back to full size by the guided filter.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config import GrabCut
from bgexp.refine.guided import follow_edges
from bgexp.refine.refined import BoolArray, ByteArray, Refined, RefusedError, attempt
from bgexp.refine.window import Window, bands_around, open_window

FloatArray = NDArray[np.float64]

# Background beyond the band that GrabCut learns from, as a share of the object's longer side.
_CONTEXT = 0.1
# Pixels this near to the mask's edge, as a share of the band, are too doubtful to learn from.
_DOUBTFUL = 1 / 3
# So many pixels are enough to learn five colours from, and to tell whether they decide.
_SAMPLES = 4000
# The window's longer side at which OpenCV's fixed weight of smooth edges suits the colours.
_NATURAL_SIZE = 320
# Radius of the guided filter on the way back to full size, as a share of the longer side.
_RADIUS = 0.04
# A cut is credible where the colours alone decide this share of the band as it does.
_AGREEMENT = 0.65
_DEFAULTS = GrabCut()


def refine_mask_grabcut(
    image: ByteArray, mask: BoolArray, settings: GrabCut = _DEFAULTS, *, seed: int = 0
) -> Refined:
    """Moves the mask's edge to the image's, inside a band around it; the rest stays bit-equal.

    Repeats are bit-equal, in any thread. Where refinement is impossible or its result not
    credible, the mask comes back as it was, with the reason.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: How.
        seed: Of GrabCut's colour clustering.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    return attempt(image, mask, partial(_refined, settings=settings, seed=seed))


def _refined(image: ByteArray, mask: BoolArray, settings: GrabCut, seed: int) -> BoolArray:
    window = open_window(image, mask, settings.band + _CONTEXT, settings.size)
    band = max(settings.band * window.longer, 1.0)  # the edge's own pixels at least
    unsure, doubtful = bands_around(window.coarse, band, band * _DOUBTFUL)
    found = window.coarse
    for _ in range(settings.iterations):
        colors = _learn(window.small, found, ~doubtful, seed)
        found = _cut(window.small, window.coarse, unsure, colors)
    _check_credible(window.small, found, unsure, colors)
    new = follow_edges(window, found, unsure, _RADIUS * window.longer)
    changed = np.count_nonzero(new ^ window.mask) / np.count_nonzero(window.mask)
    if changed > settings.max_change:
        raise RefusedError(f"it would change {changed:.0%} of the mask")
    result = mask.copy()
    result[window.where] = new
    return result
