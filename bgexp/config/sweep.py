"""Settings of a sweep that has a name; they are those of the sweep and of no job."""

from typing import Annotated, Literal

from pydantic import Field

from bgexp.config.base import Positive, Section

Study = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class GridSweep(Section):
    """Settings of all combinations under a name; study: of the folder, where they go on."""

    name: Literal["grid"]
    study: Study


class OptunaSweep(Section):
    """Settings of a study in which Optuna proposes the values.

    Attributes:
        study: The name of its folder, where the study is kept and goes on.
        trials: It ends when so many trials have ended.
        objectives: What is made as good as can be; for several there is no best but a front.
    """

    name: Literal["optuna"]
    study: Study
    trials: Positive
    objectives: Annotated[tuple[str, ...], Field(min_length=1)]


class SweepSettings(Section):
    """The `sweep` of `bgexp run -m`."""

    sweep: Annotated[GridSweep | OptunaSweep, Field(discriminator="name")]
