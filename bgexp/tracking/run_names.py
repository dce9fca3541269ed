"""What a run is called where people see many of them: what differs first, then what it is."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from bgexp.config.check import flatten_settings
from bgexp.config.roles import Role, find_keys
from bgexp.config.run import RunSettings

SEPARATOR = " · "
# What every name says, varied or not; a word for each key, "" where its value says enough.
ALWAYS = {
    "detector.name": "",
    "detector.model": "",
    "detector.path": "",
    "detector.score_threshold": "score",
    "refine.name": "",
}
NEVER_NAMED = find_keys(RunSettings, Role.BOOKKEEPING)


def name_run(settings: RunSettings, varied: Sequence[str] = ()) -> str:
    """Return a short name for a run: `demo · score 0.7 · grabcut`.

    Args:
        settings: The settings of the run.
        varied: Keys in which it differs from the others of its sweep; they stand first.
    """
    values = flatten_settings(settings)
    keys = dict.fromkeys([*varied, *ALWAYS])
    return SEPARATOR.join(_describe_setting(key, values[key]) for key in keys if key in values)


def name_sweep(varied: Sequence[str], folder: str) -> str:
    """Return a name for a sweep, from what differs in it and its folder's name."""
    words = [ALWAYS.get(key) or key.removesuffix(".name").rpartition(".")[2] for key in varied]
    return f"sweep of {', '.join(words) or 'nothing'}{SEPARATOR}{folder}"


def find_varied_keys(planned: Sequence[RunSettings]) -> list[str]:
    """Return the keys in which jobs differ, those that every name says first.

    The settings of a stage are compared only among jobs whose stage is of the same kind.
    """
    return find_varied([flatten_settings(settings) for settings in planned])


def find_varied(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Find as `find_varied_keys` does, in settings that are flat, such as a run's parameters."""
    keys = dict.fromkeys([*ALWAYS, *(key for table in tables for key in table)])
    return [key for key in keys if key not in NEVER_NAMED and _is_varied(key, tables)]


def _is_varied(key: str, tables: Sequence[Mapping[str, Any]]) -> bool:
    kind = f"{key.partition('.')[0]}.name"
    values_by_kind: dict[str, set[str]] = {}
    for table in (table for table in tables if key in table):
        stage_kind = "" if key == kind else str(table.get(kind))
        values_by_kind.setdefault(stage_kind, set()).add(str(table[key]))
    return any(len(values) > 1 for values in values_by_kind.values())


def _describe_setting(key: str, value: object) -> str:
    if key == "refine.name" and value == "none":
        return "no refinement"
    text = f"{value:g}" if isinstance(value, float) else PurePath(str(value)).name
    text = {"True": "on", "False": "off", "None": "unset"}.get(text, text)
    word = ALWAYS.get(key, key.rpartition(".")[2].replace("_", " "))
    return f"{word} {text}".strip()
