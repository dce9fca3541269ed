"""A composed config to typed settings, with one line for each that is wrong."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bgexp.config.base import Section, Settings
from bgexp.config.conf_dir import find_conf_dir
from bgexp.config.renamed import VALUES, add_hint
from bgexp.config.roles import Reads
from bgexp.errors import UserError
from bgexp.system.store_copies import explain_missing
from bgexp.system.stores import Address


def check_settings(kind: type[Settings], config: object) -> Settings:
    """Check a composed config (nested dicts) and return the typed settings.

    Raises:
        UserError: one line for each wrong setting, with the key, what came and what is allowed.
    """
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        wrong = error.errors()
        # Of a choice that is not for this command, its other settings are wrong for that reason.
        named = [w["loc"][:-1] for w in wrong if w["loc"][-1:] == ("name",)]
        lines = [
            _format_error(w)
            for w in wrong
            if w["loc"][-1:] == ("name",) or w["loc"][:-1] not in named
        ]
        raise UserError("\n".join(lines)) from error


def check_places(section: Section) -> None:
    """Check that all that a command reads is there, before the seconds of its imports.

    Raises:
        UserError: one line for each file or folder that is missing, or out of reach.
    """
    places = _list_places(section, "")
    missing = [
        f"{key}: {problem}: {path}"
        for key, path, reads in places
        if (problem := _explain_missing(path, reads))
    ]
    if missing:
        raise UserError("\n".join(missing))


def _explain_missing(path: Path | Address, reads: Reads) -> str:
    """Return why nothing is found at a path; "" where something is."""
    if isinstance(path, Address):
        return explain_missing(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"no such {reads.value}"
    except OSError as error:
        return str(error.strerror)
    return ""


def check_runs_folder(runs_dir: Path) -> None:
    """Check that the runs folder can be written to, or made.

    Raises:
        UserError: It cannot.
    """
    folder = Path(os.path.realpath(runs_dir))
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UserError(f"runs_dir: {runs_dir}: {existing} is no folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"runs_dir: {runs_dir}: {existing} cannot be written to")


def _list_places(section: BaseModel, prefix: str) -> Iterator[tuple[str, Path | Address, Reads]]:
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _list_places(value, f"{key}.")
        elif isinstance(value, Mapping):  # sections by a name that the user gave
            for word, inner in value.items():
                yield from _list_places(inner, f"{key}.{word}.")
        for mark in field.metadata:
            if isinstance(mark, Reads) and isinstance(value, Path | Address):
                yield key, value, mark


def _format_error(wrong: Any) -> str:  # noqa: ANN401
    # The location of a group with alternatives holds the alternative's name: no key of the user's.
    parts = [str(part) for part in wrong["loc"]]
    alternatives = {path.stem for path in find_conf_dir().glob("*/*.yaml")}
    key = ".".join(p for n, p in enumerate(parts) if not (n == 1 and p in alternatives))
    if wrong["type"] == "whole":
        return str(wrong["msg"])
    if wrong["type"] == "credentials":  # which are shown nowhere
        return f"{key}: {wrong['msg']}: they come from the environment"
    if wrong["type"] == "score_floor":
        return f"{key}.{wrong['msg']}"
    if wrong["type"] == "union_tag_invalid":
        allowed = wrong["ctx"]["expected_tags"].replace("'", "")
        return f"{key}.name: no such choice here (got {wrong['ctx']['tag']}; allowed: {allowed})"
    if wrong["type"] == "extra_forbidden":
        return f"{key}: no such setting"
    if wrong["type"] == "missing":
        return f"{key}: a value is needed"
    line = f"{key}: {wrong['msg']} (got {wrong['input']!r})"
    return add_hint(line, VALUES.get(key, {}).get(str(wrong["input"])))


def flatten_settings(section: Section) -> dict[str, Any]:
    """Return all settings by their dotted names, as parameters of a tracked run."""
    return flatten(section.model_dump(mode="json"))


def flatten(value: object, prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted names.

    >>> flatten({"seed": 0, "detector": {"name": "demo"}})
    {'seed': 0, 'detector.name': 'demo'}
    """
    if not isinstance(value, Mapping):
        return {prefix: value}
    values: dict[str, Any] = {}
    for key, inner in value.items():
        values |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return values
