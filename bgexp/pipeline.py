"""The way of one image: detect, combine, refine, cut out; each stage timed."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bgexp.combine import combine_detections, select_detections
from bgexp.config import Combine, Cutout, GrabCut, NoRefinement
from bgexp.cutout import cut_out
from bgexp.detect import Detector
from bgexp.detections import Detections
from bgexp.refine import Refined, refine_mask_grabcut

T = TypeVar("T")
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

_COMBINE, _REFINE, _CUTOUT = Combine(), NoRefinement(), Cutout()


@dataclass(frozen=True, eq=False)
class Removed:
    """What became of one image.

    Attributes:
        cutout: HxWx3 uint8 RGB, or HxWx4 RGBA on a transparent background.
        mask: HxW bool, True = foreground.
        unrefined: HxW bool, the mask before refinement.
        scores: (K,) float32 of the detections in the mask.
        fallback: Why the refined mask was not taken; empty where it was, or none was asked for.
        timings_ms: Milliseconds by stage.
    """

    cutout: ByteArray
    mask: BoolArray
    unrefined: BoolArray
    scores: NDArray[np.float32]
    fallback: str
    timings_ms: dict[str, float]


def remove_background(
    image: ByteArray,
    detector: Detector,
    combine: Combine = _COMBINE,
    refine: NoRefinement | GrabCut = _REFINE,
    cutout: Cutout = _CUTOUT,
    seed: int = 0,
) -> Removed:
    """Cuts the objects that the detector finds out of an image, HxWx3 uint8 RGB."""
    clock = _Clock()
    found = clock.time("detect", lambda: _detect(image, detector))
    combined = clock.time("combine", lambda: combine_detections(found, combine))
    refined = clock.time("refine", lambda: _refine(image, combined.mask, refine, seed))
    result = clock.time("cutout", lambda: cut_out(image, refined.mask, cutout.background))
    return Removed(
        result,
        refined.mask,
        combined.mask,
        found.scores[combined.used],
        refined.reason,
        clock.timings_ms,
    )


def _detect(image: ByteArray, detector: Detector) -> Detections:
    return select_detections(detector.detect(image), detector.score_threshold, detector.labels)


def _refine(
    image: ByteArray, mask: BoolArray, settings: NoRefinement | GrabCut, seed: int
) -> Refined:
    if isinstance(settings, NoRefinement):
        return Refined(mask, applied=False)
    return refine_mask_grabcut(image, mask, settings, seed=seed)


class _Clock:
    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], T]) -> T:
        started = perf_counter()
        result = work()
        self.timings_ms[stage] = 1000 * (perf_counter() - started)
        return result
