"""Settings of `bgexp compare`."""

from typing import Literal

from bgexp.config.base import RunSelection

Metric = Literal[
    "iou",
    "dice",
    "precision",
    "foreground_recall",
    "background_leakage",
    "mae",
    "boundary_iou",
    "s_measure",
    "e_measure",
    "weighted_f",
    "alpha_sad",
    "alpha_mse",
    "alpha_gradient",
    "alpha_connectivity",
    "composite_error",
]


class CompareSettings(RunSelection):
    """Settings of `bgexp compare`.

    Attributes:
        baseline: The run that the others are compared with, by a word as in `runs`; null: the
            first one.
        metric: By which they are compared image by image.
        cluster: "category": images of a category are resampled together; null: each by itself.
        reference: A run with whose masks agreement is reported; null: none.
    """

    baseline: str | None
    metric: Metric
    cluster: Literal["category"] | None
    reference: str | None
