"""Load a command's settings as its command line would: composed from `conf/`, checked, typed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from bgexp.config.analyze import AnalyzeSettings
from bgexp.config.autotune import AutotuneSettings
from bgexp.config.base import Section
from bgexp.config.batch import BatchSettings
from bgexp.config.check import check_settings
from bgexp.config.compare import CompareSettings
from bgexp.config.doctor import DoctorSettings, UiSettings
from bgexp.config.export import ExportSettings
from bgexp.config.promote import PromoteSettings
from bgexp.config.review import ReviewSettings, SelectSettings
from bgexp.config.run import RunSettings
from bgexp.config.train import TrainSettings
from bgexp.config.verify import VerifySettings
from bgexp.errors import UserError

SETTINGS: dict[str, type[Section]] = {
    "run": RunSettings,
    "compare": CompareSettings,
    "review": ReviewSettings,
    "select": SelectSettings,
    "export": ExportSettings,
    "analyze": AnalyzeSettings,
    "promote": PromoteSettings,
    "batch": BatchSettings,
    "verify": VerifySettings,
    "autotune": AutotuneSettings,
    "train": TrainSettings,
    "doctor": DoctorSettings,
    "ui": UiSettings,
}


@overload
def load_settings(
    command: Literal["run"] = "run",
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
) -> RunSettings: ...


@overload
def load_settings(
    command: Literal["batch"], overrides: Sequence[str] = (), config_dir: Path | None = None
) -> BatchSettings: ...


@overload
def load_settings(
    command: str, overrides: Sequence[str] = (), config_dir: Path | None = None
) -> Section: ...


def load_settings(
    command: str = "run", overrides: Sequence[str] = (), config_dir: Path | None = None
) -> Section:
    """Return the settings of a command, checked and typed.

    Args:
        command: Such as "run" or "batch".
        overrides: As on the command line, such as "detector.score_threshold=0.7".
        config_dir: A folder with settings of your own, as after `--config-dir`.

    Raises:
        UserError: No such command, or a setting that is wrong; one line for each.
    """
    from bgexp.config.compose import compose_config, resolve_config  # Hydra, which takes a while
    from bgexp.config.free_text import quote_free_text

    if command not in SETTINGS:
        raise UserError(f"no such command: {command!r} (allowed: {', '.join(SETTINGS)})")
    kind = SETTINGS[command]
    quoted = quote_free_text([kind], overrides)
    return check_settings(kind, resolve_config(compose_config(command, quoted, config_dir)))


def write_overrides(settings: Mapping[str, Any]) -> list[str]:
    """Return settings, those of a section as a mapping, as the command line has them.

    >>> write_overrides({"refine": "grabcut", "detector": {"score_threshold": 0.7}})
    ["refine='grabcut'", 'detector.score_threshold=0.7']
    """
    return list(_list_overrides(settings))


def _list_overrides(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            if "name" in value:  # of a choice, such as a detector
                yield f"{prefix}{key}={value['name']}"
            inner = {name: setting for name, setting in value.items() if name != "name"}
            yield from _list_overrides(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_format_value(value)}"


def _format_value(value: object) -> str:
    """Return a value in Hydra's grammar."""
    from bgexp.config.compose import quote

    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_format_value, value))}]"
    return quote(str(value)) if isinstance(value, str | Path) else repr(value)
