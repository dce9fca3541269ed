"""Settings of `bgexp autotune`."""

from bgexp.config.base import Common, Positive, Share
from bgexp.config.datasets import Dataset
from bgexp.config.detectors import ObjectDetectorSettings
from bgexp.config.stages import Combine, Refine


class AutotuneSettings(Common):
    """Settings of `bgexp autotune`.

    Attributes:
        images: So many of the dataset are measured on.
        tolerance: The IoU that may be lost, on the mean over the images: with the truth where
            there is one, else the masks' own with those of fp32.
    """

    dataset: Dataset
    detector: ObjectDetectorSettings
    combine: Combine
    refine: Refine
    images: Positive
    tolerance: Share
