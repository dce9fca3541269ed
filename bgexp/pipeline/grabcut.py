"""A coarse mask to one that follows the image's edges, by GrabCut in a narrow band.

Rother et al., "GrabCut", SIGGRAPH 2004; back to full size by the guided filter.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import GrabCut
from bgexp.pipeline.guided import follow_edges
from bgexp.pipeline.refinement import BoolArray, ByteArray, Refinement, RefusedError, try_refinement
from bgexp.pipeline.working_window import Window, check_length, find_bands, open_window

FloatArray = NDArray[np.float64]

# Background beyond the band that GrabCut learns from, as a share of the object's longer side.
_CONTEXT = 0.1
# Pixels this near to the mask's edge, as a share of the band, are too doubtful to learn from.
_DOUBTFUL = 1 / 3
# Pixels enough to learn five colours from, and to check whether the colours decide.
_SAMPLES = 2000
# The window's longer side at which OpenCV's fixed weight of smooth edges suits the colours.
_NATURAL_SIZE = 320
# Radius of the guided filter on the way back to full size, as a share of the longer side.
_RADIUS = 0.04
# A cut is credible where the colours alone decide this share of the band as it does.
_AGREEMENT = 0.65
# Objects have to be longer than so many bands: the band would take all of each.
_SHORTEST = 2
_NOWHERE = (0, 0, 0, 0)  # the rectangle that OpenCV wants and does not use with a mask
_DEFAULTS = GrabCut()


def refine_mask_grabcut(
    image: ByteArray, mask: BoolArray, settings: GrabCut = _DEFAULTS, *, seed: int = 0
) -> Refinement:
    """Move the mask's edge to the image's, inside a band around it; the rest stays bit-equal.

    Repeats are bit-equal, in any thread. Where refinement is impossible or its result not
    credible, the mask is returned unchanged, with the reason.

    Args:
        image: HxWx3 uint8 RGB.
        mask: HxW bool, True = foreground.
        settings: How.
        seed: Of GrabCut's colour clustering.

    Raises:
        ValueError: Where image or mask are not as above.
    """
    return try_refinement(image, mask, partial(_refine_window, settings=settings, seed=seed))


def _refine_window(image: ByteArray, mask: BoolArray, settings: GrabCut, seed: int) -> BoolArray:
    window = open_window(image, mask, settings.band + _CONTEXT, settings.size)
    band = max(settings.band * window.longer, 1.0)  # the edge's own pixels at least
    check_length(window.coarse, _SHORTEST * band)
    uncertain, doubtful = find_bands(window.coarse, band, band * _DOUBTFUL)
    refined = window.coarse
    for _ in range(settings.iterations):
        colors = _learn_colors(window.small, refined, ~doubtful, seed)
        refined = _cut_band(window, uncertain, colors)
    _check_credible(window, refined, uncertain, colors)
    new = follow_edges(window, refined, uncertain, _RADIUS * window.longer)
    change = np.count_nonzero(new ^ window.mask) / np.count_nonzero(window.mask)
    if change > settings.max_change:
        raise RefusedError(f"it would change {change:.0%} of the mask")
    result = mask.copy()
    result[window.where] = new
    return result


@dataclass(frozen=True, eq=False)
class _Colors:
    """OpenCV's models of the background's and the foreground's colours, (1, 65) float64 each.

    Five Gaussians: 5 weights, 5x3 means, 5x3x3 covariances.
    """

    background: FloatArray
    foreground: FloatArray


def _learn_colors(small: ByteArray, refined: BoolArray, clear: BoolArray, seed: int) -> _Colors:
    """Learn the colours of both sides of the edge from the clear pixels."""
    sides = [_subsample(np.flatnonzero(clear & side)) for side in (~refined, refined)]
    indices = np.concatenate(sides)
    labels = np.asarray(refined.ravel()[indices, None], np.uint8)
    colors = _Colors(np.zeros((1, 65)), np.zeros((1, 65)))
    # The generator belongs to the thread: seeded here, no other work can come in between.
    cv2.setRNGSeed(seed)
    pixels = small.reshape(-1, 1, 3)[indices]
    cv2.grabCut(
        pixels, labels, _NOWHERE, colors.background, colors.foreground, 0, cv2.GC_INIT_WITH_MASK
    )
    return colors


def _subsample(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return every n-th pixel, so that about `_SAMPLES` are left."""
    return pixels[:: ceil(len(pixels) / _SAMPLES) or 1]


def _cut_band(window: Window, uncertain: BoolArray, colors: _Colors) -> BoolArray:
    """Return the foreground at working size, hxw bool: the least costly edge in the band."""
    # At a smaller working size an area holds far fewer pixels and its edge only fewer. Narrower
    # models raise the weight of the colours so that OpenCV's fixed smoothness stays in scale.
    narrow = max(1.0, _NATURAL_SIZE / max(uncertain.shape))
    background, foreground = colors.background.copy(), colors.foreground.copy()
    background[:, 20:] /= narrow
    foreground[:, 20:] /= narrow
    labels = window.coarse.view(np.uint8) + 2 * uncertain.view(np.uint8)  # 0, 1 sure; 2, 3 probable
    cv2.grabCut(window.small, labels, _NOWHERE, background, foreground, 1, cv2.GC_EVAL_FREEZE_MODEL)
    refined = np.asarray(labels % 2, np.bool_)
    if refined[uncertain].all() or not refined[uncertain].any():
        raise RefusedError("GrabCut found no edge in the band")
    return refined


def _check_credible(
    window: Window, refined: BoolArray, uncertain: BoolArray, colors: _Colors
) -> None:
    indices = _subsample(np.flatnonzero(uncertain))
    pixels = window.small.reshape(-1, 3)[indices]
    foreground = _compute_log_density(colors.foreground, pixels) > _compute_log_density(
        colors.background, pixels
    )
    agree = np.mean(foreground == refined.ravel()[indices])
    if agree < _AGREEMENT:
        raise RefusedError(f"the colours agree with the edge found in {agree:.0%} of the band only")


def _compute_log_density(model: FloatArray, pixels: ByteArray) -> FloatArray:
    """Return the log density of each pixel, (N, 3) uint8, in a model, up to a constant: (N,)."""
    is_used = model[0, :5] > 0
    weights, means = model[0, :5][is_used], model[0, 5:20].reshape(5, 1, 3)[is_used]
    spread = model[0, 20:].reshape(5, 3, 3)[is_used]
    offsets = pixels - means
    distance = ((offsets @ np.linalg.inv(spread)) * offsets).sum(-1)
    scale = np.log(weights / np.sqrt(np.linalg.det(spread)))
    return np.asarray(np.logaddexp.reduce(scale[:, None] - distance / 2), np.float64)
