"""What every command that removes backgrounds has."""

from typing import Annotated, Self

from pydantic import Field, WithJsonSchema, model_validator

from bgexp.config.base import Common, Positive
from bgexp.config.detectors import DetectorSettings, check_instances
from bgexp.config.roles import Role, read_marks
from bgexp.config.stages import Combine, Cutout, Refine

ModelName = Annotated[
    str,
    Field(min_length=1, coerce_numbers_to_str=True),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["champion", "previous"]}),
]


class PipelineSettings(Common):
    """The stages that an image passes, and what computes them.

    Attributes:
        model: A promoted one, whose detector, combine, refine and seed are taken: champion,
            previous, a version's number, or NAME@ALIAS or NAME/NUMBER; null: none.
        workers: Processes that the images are shared among, each with its share of the cores;
            null: one for each core. On a GPU they share one network. OMP_NUM_THREADS says how
            many cores there are.
    """

    model: Annotated[ModelName | None, Role.LOCATION] = None
    detector: DetectorSettings
    combine: Combine
    refine: Refine
    cutout: Cutout
    workers: Annotated[Positive | None, Role.EXECUTION]

    @model_validator(mode="after")
    def _check_instances(self) -> Self:
        check_instances(self.detector, self.combine.instances)
        return self


# The settings that decide what becomes of an image: what is promoted.
STAGES = tuple(
    name for name, field in PipelineSettings.model_fields.items() if not read_marks(field.metadata)
)
