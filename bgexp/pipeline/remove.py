"""The way of one image: detect, combine, refine, cut out; each stage timed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import Combine, Cutout, NoRefinement, Refine
from bgexp.detect.detections import Detections, DetectorOutput
from bgexp.detect.detector import Detector
from bgexp.errors import UserError
from bgexp.images.encode import SUFFIX, Photo, encode_result
from bgexp.pipeline.combine import combine_output, select_detections
from bgexp.pipeline.cutout import cut_out_by_settings
from bgexp.pipeline.refine import refine_mask
from bgexp.system.atomic import write_whole

T = TypeVar("T")
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

_COMBINE, _REFINE, _CUTOUT = Combine(), NoRefinement(), Cutout()


@dataclass(frozen=True, eq=False)
class RemovalResult:
    """The mask, the cut-out and the intermediate results of one image.

    Attributes:
        cutout: HxWx3 uint8 RGB, or HxWx4 RGBA on a transparent background.
        mask: HxW bool, True = foreground.
        unrefined: HxW bool, the mask before refinement.
        detector_output: The detections that count, in the mask or not; or a soft mask.
        scores: (K,) float32 of the detections in the mask; none of a soft mask.
        refined: "off", "applied", "skipped" or "refused", as in `Refined`.
        fallback: Why refinement was skipped or refused; else empty.
        timings_ms: Milliseconds by stage.
        alpha: HxW uint8, how much of a pixel was kept; None where the edge is hard.
    """

    cutout: ByteArray
    mask: BoolArray
    unrefined: BoolArray
    detector_output: DetectorOutput
    scores: NDArray[np.float32]
    refined: str
    fallback: str
    timings_ms: dict[str, float]
    alpha: ByteArray | None = None

    def save(self, path: str | Path) -> None:
        """Write the cut-out, whole or not at all: a .png, .webp (both lossless) or .jpg file.

        Raises:
            UserError: Another suffix; transparency in a JPEG; a side too long for the format.
            OSError: The file cannot be written.
        """
        kinds = {suffix: kind for kind, suffix in SUFFIX.items()} | {".jpeg": "jpeg"}
        kind = kinds.get(Path(path).suffix.lower())
        if kind is None:
            raise UserError(f"{path}: no format by this suffix (allowed: {', '.join(kinds)})")
        if kind == "jpeg" and self.cutout.shape[2] == 4:
            raise UserError(f"{path}: JPEG knows no transparency (use .png or .webp)")
        try:
            write_whole(path, encode_result(self.cutout, kind, Photo(self.cutout)))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from error


def remove_background(  # one a stage, and what all share
    image: ByteArray,
    detector: Detector,
    combine: Combine = _COMBINE,
    refine: Refine = _REFINE,
    cutout: Cutout = _CUTOUT,
    seed: int = 0,
) -> RemovalResult:
    """Cut the objects that a detector finds out of an image.

    Args:
        image: HxWx3 uint8 RGB.
        detector: What `build_detector` gives, or anything with its `detect`.
        combine: How the detections become one mask.
        refine: How the mask's edge is moved to the image's; by default not at all.
        cutout: What lies behind the foreground, and its edge.
        seed: Of what is random in the refinement.
    """
    clock = _Clock()
    output = clock.time("detect", lambda: _detect(image, detector))
    combined = clock.time("combine", lambda: combine_output(output, combine))
    refined = clock.time("refine", lambda: refine_mask(image, combined.mask, refine, seed=seed))
    result, alpha = clock.time("cutout", lambda: cut_out_by_settings(image, refined.mask, cutout))
    return RemovalResult(
        cutout=result,
        alpha=alpha,
        mask=refined.mask,
        unrefined=combined.mask,
        detector_output=output,
        scores=_collect_scores(output)[combined.used],
        refined=refined.status,
        fallback=refined.reason,
        timings_ms=clock.timings_ms,
    )


def _detect(image: ByteArray, detector: Detector) -> DetectorOutput:
    output = detector.detect(image)
    if isinstance(output, Detections):
        return select_detections(output, detector.selection)
    return output


def _collect_scores(output: DetectorOutput) -> NDArray[np.float32]:
    return output.scores if isinstance(output, Detections) else np.zeros(0, np.float32)


class _Clock:
    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], T]) -> T:
        started = perf_counter()
        result = work()
        self.timings_ms[stage] = 1000 * (perf_counter() - started)
        return result
