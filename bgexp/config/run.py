"""Settings of `bgexp run`."""

from typing import Annotated

from pydantic import Field

from bgexp.config.base import Percentage, Section
from bgexp.config.datasets import Dataset
from bgexp.config.detectors import RunDetectorSettings
from bgexp.config.engines import Local, Ray
from bgexp.config.pipeline import PipelineSettings
from bgexp.config.roles import Role


class Cache(Section):
    """Detections kept between runs, in the runs folder; max_gb: their limit, 0 keeps none."""

    max_gb: Annotated[float, Field(ge=0)]


class RunSettings(PipelineSettings):
    """Settings of `bgexp run`.

    `workers` is one where hydra/launcher=joblib runs the job.

    Attributes:
        engine: Who evaluates the images.
        samples: The number of pictures kept as samples.
        max_failed: The share of images that may fail before the run counts as failed.
        force: Whether it is computed although an identical finished run exists.
    """

    detector: RunDetectorSettings  # type: ignore[assignment]  # one more than other commands
    dataset: Dataset
    engine: Annotated[Local | Ray, Field(discriminator="name"), Role.EXECUTION] = Local()
    cache: Annotated[Cache, Role.EXECUTION]
    samples: Annotated[int, Field(ge=0), Role.SAMPLES]
    max_failed: Annotated[Percentage, Role.EXECUTION]
    force: Annotated[bool, Role.BOOKKEEPING]
