"""The one typed schema of all settings. A composed config becomes it once and goes no further.

Unknown keys are refused, and a config is data: `_target_` is an unknown key like any other.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bgexp.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: unknown keys refused, never changed after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


# -- shared by every command -----------------------------------------------------------------


class Tracking(Section):
    """Where runs are recorded; uri null: the SQLite store in the runs folder."""

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1)] = "bgexp"


class Common(Section):
    """What every tracked command has."""

    runs: Path
    tracking: Tracking
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    device: Literal["auto", "cpu", "cuda"]


# -- bgexp train -----------------------------------------------------------------------------


class TrainData(Section):
    """Folders of RGBA cut-outs and of backgrounds, split by object into training and validation."""

    cutouts: Path
    backgrounds: Path
    validation_cutouts: Path
    validation_backgrounds: Path


class TrainLoop(Section):
    """How long and how fast; the image size is that of the square composites, in pixels."""

    steps: Positive
    batch_size: Positive
    image_size: Annotated[int, Field(ge=64)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    validate_every: Positive
    validation_images: Positive
    workers: Annotated[int, Field(ge=0)]


class TrainSettings(Common):
    """Settings of `bgexp train`."""

    dataset: TrainData
    loop: TrainLoop
    backbone: Path | None
    resume: bool


Settings = TypeVar("Settings", bound=Section)


def check_settings(kind: type[Settings], config: dict[str, Any]) -> Settings:
    """The typed settings of a composed config.

    Raises:
        UserError: one line for each wrong setting, with the key, what came and what is allowed.
    """
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        raise UserError("\n".join(map(_line, error.errors()))) from error


def _line(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: no such setting"
    if error["type"] == "missing":
        return f"{key}: a value is needed"
    return f"{key}: {error['msg']} (got {error['input']!r})"
