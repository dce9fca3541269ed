"""Settings of `bgexp run`."""

from typing import Annotated

from pydantic import Field

from bgexp.config.datasets import Dataset
from bgexp.config.detectors import DetectorSettings
from bgexp.config.section import Common, Section, Share
from bgexp.config.stages import Combine, Cutout, Refine


class Cache(Section):
    """Detections kept between runs, in the runs folder; max_gb: their limit, 0 keeps none."""

    max_gb: Annotated[float, Field(ge=0)]


class RunSettings(Common):
    """Settings of `bgexp run`."""

    dataset: Dataset
    detector: DetectorSettings
    combine: Combine
    refine: Refine
    cutout: Cutout
    cache: Cache
    samples: Annotated[int, Field(ge=0)]
    max_failed: Share
    force: bool
