"""Settings of `bgexp doctor` and `bgexp ui`."""

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from bgexp.config.base import TrackedSettings
from bgexp.config.detectors import DetectorSettings


class DoctorSettings(TrackedSettings):
    """Settings of `bgexp doctor`: what it looks at is what a run with the same ones would use."""

    device: Literal["auto", "cpu", "cuda"]
    detector: DetectorSettings


class UiSettings(TrackedSettings):
    """Settings of `bgexp ui`."""

    port: Annotated[int, Field(ge=1, le=65535)]
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    browser: bool = True
