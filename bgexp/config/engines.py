"""Settings of the engines that the work of a batch or a run is done by."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bgexp.config.base import Count, Positive, Section
from bgexp.errors import UserError


class Local(Section):
    """The processes of this machine."""

    name: Literal["local"] = "local"


class Ray(Section):
    """Settings of the work on a Ray cluster.

    Attributes:
        address: Of the cluster; `auto` for the one that runs on this machine; None: one that is
            started here and ends with the batch.
        min_workers, max_workers: How many workers there are; None: as the cluster has room for.
        cpus, gpus: What each worker is given of its machine.
    """

    name: Literal["ray"] = "ray"
    address: Annotated[str, Field(min_length=1)] | None = None
    min_workers: Positive = 1
    max_workers: Positive | None = None
    cpus: Positive = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.max_workers is not None and self.max_workers < self.min_workers:
            raise PydanticCustomError(
                "whole", "engine.max_workers: allowed: at least engine.min_workers"
            )
        return self


class Slurm(Section):
    """Settings of the work by a job array of Slurm.

    Attributes:
        tasks: How many tasks the array has, at most.
        cpus, gpus, memory_gb: What each task is given of its node.
        hours: Time limit of each task.
        partition, account, qos: As `sbatch` takes them.
    """

    name: Literal["slurm"] = "slurm"
    tasks: Positive = 8
    cpus: Positive = 1
    gpus: Count = 0
    hours: Annotated[float, Field(gt=0)] = 24.0
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None


Engine = Annotated[Local | Ray | Slurm, Field(discriminator="name")]


@contextmanager
def require_library(engine: Engine) -> Iterator[None]:
    """Raise a UserError where what is imported meanwhile is not installed."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"engine: {error.name} is not installed: pip install 'bgexp[{engine.name}]'"
        ) from error
