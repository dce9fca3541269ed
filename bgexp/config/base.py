"""What all settings are made of, and what every command has."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)
from pydantic_core import PydanticCustomError

from bgexp.config.credentials import use_credentials
from bgexp.config.roles import Role
from bgexp.system.stores import Address, Place, read_place

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Settings = TypeVar("Settings", bound="Section")


def expand_home(value: object) -> object:
    """Replace ~ or ~NAME at the beginning of a path by that user's home, where there is one."""
    if value == "":  # which would be the current folder
        raise PydanticCustomError("path", "a path is needed")
    # Path.expanduser raises where no home is known.
    if isinstance(read_place(value), Address):
        return value
    return os.path.expanduser(value) if isinstance(value, str | Path) else value  # noqa: PTH111


def _refuse_address(value: object) -> object:
    if isinstance(read_place(value), Address):
        raise PydanticCustomError("path", "no address of an object store is possible here")
    return expand_home(value)


def _parse_percentage(value: object) -> object:
    """Parse a share, also one like "2%"."""
    if isinstance(value, str) and value.endswith("%"):
        try:
            return float(value[:-1]) / 100
        except ValueError:
            return value
    return value


Percentage = Annotated[
    Share,
    BeforeValidator(
        _parse_percentage,
        json_schema_input_type=Share | Annotated[str, Field(pattern=r"^[\d.]+%$")],
    ),
]
UserPath = Annotated[Path, BeforeValidator(_refuse_address)]
UserPlace = Annotated[Place, BeforeValidator(expand_home)]
NameOrPath = Annotated[str, BeforeValidator(expand_home)]


class Section(BaseModel):
    """A part of the settings: unknown keys refused, never changed after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def replace(self, **changes: object) -> Self:
        """Return the same settings with other values, checked like any."""
        return self.model_validate({**dict(self), **changes})


class Tracking(Section):
    """The tracking store; uri null: the SQLite store in the runs folder.

    Attributes:
        uri: The address without its credentials, which the environment has from then on.
    """

    uri: Annotated[str, AfterValidator(use_credentials)] | None = None
    experiment: Annotated[str, Field(min_length=1)] = "bgexp"


class TrackedSettings(Section):
    """Settings of every tracked command."""

    runs_dir: Annotated[UserPath, Role.BOOKKEEPING]
    tracking: Annotated[Tracking, Role.BOOKKEEPING]


class Common(TrackedSettings):
    """Settings of every command with a network."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    device: Annotated[Literal["auto", "cpu", "cuda"], Role.EXECUTION]


class RunSelection(TrackedSettings):
    """Settings of every command over earlier runs.

    Attributes:
        runs: Words that name runs, as in `history.find_runs`.
        filter: Of them only these, in MLflow's language; null: all.
    """

    runs: tuple[str, ...]
    filter: str | None
