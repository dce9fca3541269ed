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
    """Settings of `bgexp ui`.

    Attributes:
        port: Where it listens.
        host: The address on which it listens; 0.0.0.0: on all of this machine's.
        allowed_hosts: Names besides this machine's by which browsers may ask for it, such as that
            of a proxy; `*.` at the beginning stands for all names below one.
        browser: Whether a browser is opened, where there is a desktop.
    """

    port: Annotated[int, Field(ge=1, le=65535)]
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[\w-]+(\.[\w-]+)*$")], ...] = ()
    browser: bool = True
