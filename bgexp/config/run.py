"""Settings of `bgexp run`."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from bgexp.config.base import Common, Positive, Section, Share
from bgexp.config.datasets import Dataset
from bgexp.config.detectors import DetectorSettings, check_instances
from bgexp.config.stages import Combine, Cutout, Refine


class Cache(Section):
    """Detections kept between runs, in the runs folder; max_gb: their limit, 0 keeps none."""

    max_gb: Annotated[float, Field(ge=0)]


class RunSettings(Common):
    """Settings of `bgexp run`.

    Attributes:
        model: A promoted one, as in `BatchSettings`; null: none.
        workers: Processes that the images are shared among, each with its share of the cores;
            null: one for each core; none where hydra/launcher=joblib runs the job. On a GPU they
            share one network.
            OMP_NUM_THREADS says how many cores there are for a run. 1: no worker.
    """

    model: Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)] | None = None

    dataset: Dataset
    detector: DetectorSettings
    combine: Combine
    refine: Refine
    cutout: Cutout
    cache: Cache
    samples: Annotated[int, Field(ge=0)]
    max_failed: Share
    workers: Positive | None
    force: bool

    @model_validator(mode="after")
    def _instances_are_found(self) -> Self:
        check_instances(self.detector, self.combine.instances)
        return self
