"""Which refinement suits the masks of a detector, by unseen scenes, once a training has ended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bgexp.config.stages import GrabCut, GuidedFilter, NoRefinement, UNet
from bgexp.metrics.overlap import boundary_iou, iou
from bgexp.pipeline.refine import refine_mask
from bgexp.train.scene import Scene


@dataclass(frozen=True)
class RefinementScore:
    """What one refinement gives.

    Attributes:
        name: "none", "guided", "grabcut" or "unet".
        iou: The mean over the scenes, 0 worst, 1 best.
        boundary_iou: The same of the boundary IoU.
    """

    name: str
    iou: float
    boundary_iou: float


def score_refinements(
    scenes: Sequence[Scene], masks: Sequence[NDArray[np.bool_]], unet: UNet
) -> list[RefinementScore]:
    """Score each refinement of the masks, the cheapest first.

    Args:
        scenes: At least one has foreground; the others do not count.
        masks: Unrefined, HxW bool, one a scene.
        unet: Settings of the U-Net; the others have their defaults.
    """
    pairs = [(s, m) for s, m in zip(scenes, masks, strict=True) if s.foreground.any()]
    scores = []
    for settings in (NoRefinement(), GuidedFilter(), GrabCut(), unet):
        refined = [(s, refine_mask(s.image, mask, settings).mask) for s, mask in pairs]
        means = (
            float(np.mean([metric(mask, s.foreground, s.void) for s, mask in refined]))
            for metric in (iou, boundary_iou)
        )
        scores.append(RefinementScore(settings.name, *means))
    return scores


def choose_refinement(scores: Sequence[RefinementScore]) -> str:
    """Return the name of the best by the mean of both scores; of equal ones the cheapest."""
    return max(scores, key=lambda score: score.iou + score.boundary_iou).name
