"""Settings of `bgexp doctor` and `bgexp ui`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
)

from bgexp.config.base import Section, Tracking
from bgexp.config.detectors import DetectorSettings


class DoctorSettings(Section):
    """Settings of `bgexp doctor`: what it looks at is what a run with the same ones would use."""

    runs_dir: Path
    tracking: Tracking
    device: Literal["auto", "cpu", "cuda"]
    detector: DetectorSettings


class UiSettings(Section):
    """Settings of `bgexp ui`."""

    runs_dir: Path
    tracking: Tracking
    port: Annotated[int, Field(ge=1, le=65535)]
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
