"""Commands that are printed to be typed again: each is found to mean the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bgexp.config.base import TrackedSettings
from bgexp.config.compose import quote
from bgexp.config.free_text import unquote_free_text
from bgexp.config.load import SETTINGS
from bgexp.system.terminal import quote_for_shell


def write_command(
    command: str,
    words: Sequence[str],
    settings: TrackedSettings,
    config_dir: Path | None = None,
) -> str:
    """Return a command as a shell takes it, with the places that these settings name.

    Args:
        command: Such as "compare".
        words: Overrides and names of runs.
        settings: Whose runs folder, tracking store and experiment are kept where not the usual.
        config_dir: Of the configs that the words may name.
    """
    folder = [] if config_dir is None else ["--config-dir", str(config_dir)]
    line = ["bgexp", command, *folder, *words, *_list_places(command, settings)]
    return " ".join(map(quote_for_shell, line))


def write_override(command: str, key: str, text: object) -> str:
    r"""Return an override that gives a setting this text, whatever is in it.

    >>> write_override("batch", "input", "it's 5")
    "input=it's 5"
    >>> write_override("batch", "input", "'a'")
    "input='\\'a\\''"
    """
    kind, override = SETTINGS[command], f"{key}={quote(str(text))}"
    return unquote_free_text([kind], override, sweeps=command == "run")


def _list_places(command: str, settings: TrackedSettings) -> Iterator[str]:
    if settings.runs_dir != Path("runs"):
        yield write_override(command, "runs_dir", settings.runs_dir)
    if settings.tracking.uri is not None:
        yield write_override(command, "tracking.uri", settings.tracking.uri)
    if settings.tracking.experiment != "bgexp":
        yield write_override(command, "tracking.experiment", settings.tracking.experiment)
