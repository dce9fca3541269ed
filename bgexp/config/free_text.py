"""Overrides whose value is a path, a name or free text: it is taken as it was typed.

Hydra's grammar gives a meaning to most characters; this is the one place that decides which of
them keep it, for every setting that is text by its type:

    KEY=null             no value, where the setting may have none
    KEY='TEXT'           the text between the quotes, whatever is in it; also "TEXT"
    KEY=${oc.env:NAME}   an environment variable; also ${now:…}, and ${…} with a setting's name
    KEY=[A,B]            a list, where the setting is one; whole numbers in it stay numbers
    KEY=A,B              with -m, and only there: the values of a sweep, each as above
    KEY=…                anything else is the text itself
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from hydra.core.override_parser.types import Override, QuotedString
from pydantic import BaseModel

from bgexp.config.compose import parse_overrides, quote
from bgexp.config.roles import find_sections
from bgexp.errors import UserError

# What Hydra reads as typed, and the rest of this package need not see in quotes.
_PLAIN = re.compile(r"(?!(null|true|false|nan|inf)$)([A-Za-z_]|\.{0,2}/)[\w./-]*", re.I | re.A)
_MISSING = "???"  # OmegaConf's mark of a value that is missing
_SWEEP_FUNCTION = re.compile(r"(sort|shuffle|range|interval|tag)\(.*\)")
_INTERPOLATION = re.compile(r"\$\{\s*([\w.]+)\s*([:}])")
_PART = re.compile(r"\s*('(?:\\'|[^'])*'|\"(?:\\\"|[^\"])*\")\s*(?:,|$)")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True)
class TextSetting:
    """A setting that is text.

    Attributes:
        optional: Whether it may be null.
        listed: Whether it is a list of texts.
        choice: Whether it is the name of a file of settings; a mapping stays one, and what Hydra
            reads as several.
    """

    optional: bool = False
    listed: bool = False
    choice: bool = False


# Places and names that are no settings of bgexp's own.
_OF_HYDRA = {
    "experiment": TextSetting(optional=True, listed=True, choice=True),
    "training": TextSetting(optional=True, choice=True),
    "hydra.run.dir": TextSetting(),
    "hydra.sweep.dir": TextSetting(),
    "hydra.sweep.subdir": TextSetting(),
    "hydra.job.name": TextSetting(),
}


def quote_free_text(
    kinds: Sequence[type[BaseModel]], overrides: Sequence[str], sweep: bool = False
) -> list[str]:
    """Quote the values of overrides for Hydra where it would read something else.

    What is quoted already stays, so that it can be done again.

    Args:
        kinds: The settings that the overrides are for.
        overrides: As they were typed.
        sweep: Whether a value with commas is several.
    """
    settings = dict(_OF_HYDRA)
    for key, setting in (pair for kind in kinds for pair in _find_text_settings(kind)):
        other = settings.get(key, setting)  # that of another choice, such as of another detector
        settings[key] = TextSetting(
            setting.optional or other.optional,
            setting.listed or other.listed,
            setting.choice or other.choice,
        )
    names = {"hydra", *(name for kind in kinds for name in kind.model_fields)}
    return [_quote_override(override, settings, names, sweep) for override in overrides]


def unquote_free_text(kinds: Sequence[type[BaseModel]], override: str, sweeps: bool = True) -> str:
    """Return an override as people type it: without quotes, where they change nothing.

    Args:
        kinds: The settings that it is for.
        override: As Hydra takes it.
        sweeps: Whether it may be typed in a sweep, too.
    """
    key, _, value = override.partition("=")
    quoted = _read_quoted(value)
    if quoted is None:
        return override
    plain = f"{key}={quoted.text}"
    again = [quote_free_text(kinds, [plain], sweep)[0] for sweep in (False, sweeps)]
    values = [word.partition("=")[2] for word in again]
    same = all(
        _read_quoted(text) == quoted or (_PLAIN.fullmatch(text) and text == quoted.text)
        for text in values
    )
    return plain if same else override


def _quote_override(
    override: str, settings: Mapping[str, TextSetting], names: set[str], sweep: bool
) -> str:
    key, equals, value = override.partition("=")
    if not equals or not key or key.startswith("~"):
        return override
    setting = _find_setting(key.lstrip("+"), settings)
    if setting is None:
        return override if _parse(override) else f"{key}={quote(value)}"
    read = _parse(override) if setting.choice else None
    if read is not None and (value.startswith("{") or read.is_sweep_override()):
        return override
    if not sweep:
        return f"{key}={_quote_value(value, setting, names)}"
    choice = re.fullmatch(r"choice\((.*)\)", value)
    if not choice and _SWEEP_FUNCTION.fullmatch(value) and _parse(override):
        return override
    parts = [_quote_value(part, setting, names) for part in _split(choice[1] if choice else value)]
    return f"{key}={','.join(parts)}"


def _quote_value(value: str, setting: TextSetting, names: set[str]) -> str:
    if value == "null" and setting.optional:
        return value
    if setting.listed and value.startswith("[") and value.endswith("]"):
        parts = _split(value[1:-1]) if value[1:-1].strip() else []
        texts = [p if re.fullmatch(r"-?\d+", p) else _quote_text(p, names) for p in parts]
        return f"[{','.join(texts)}]"
    return _quote_text(value, names)


def _quote_text(text: str, names: set[str]) -> str:
    quoted = _read_quoted(text)
    if text == _MISSING or (quoted and quoted.text == _MISSING):
        return quote(f"./{_MISSING}")
    if quoted or _PLAIN.fullmatch(text):
        return text
    matches = _INTERPOLATION.finditer(text)
    interpolated = any(m[2] == ":" or m[1].partition(".")[0] in names for m in matches)
    return quote(text, literal=not interpolated)


def _read_quoted(value: str) -> QuotedString | None:
    """Return what Hydra reads in a value that is one quoted string; None for any other."""
    if value[:1] not in ("'", '"') or value[-1:] != value[:1]:
        return None
    read = _parse(f"k={value}")
    return read._value if read and isinstance(read._value, QuotedString) else None


def _parse(override: str) -> Override | None:
    """Parse an override as Hydra does; None where it cannot."""
    try:
        return parse_overrides([override])[0]
    except UserError:
        return None


def _split(values: str) -> list[str]:
    """Split at commas that stand in no quotes and no brackets; brackets that do not close are text.

    >>> _split("a,'b,c', photos (1, 2)")
    ['a', "'b,c'", 'photos (1, 2)']
    """
    parts, rest = [], values
    while True:
        quoted = _PART.match(rest)
        end = quoted.end(1) if quoted else _find_comma(rest)
        parts.append(rest[:end].strip())
        rest = rest[end:].lstrip()
        if not rest:
            return parts
        rest = rest[1:]  # the comma


def _find_comma(text: str) -> int:
    """Find the first comma outside brackets, else the first one, else the end."""
    waiting: list[str] = []
    for place, character in enumerate(text):
        if character == "," and not waiting:
            return place
        if character in _CLOSING:
            waiting.append(_CLOSING[character])
        elif waiting and character == waiting[-1]:
            waiting.pop()
    return text.find(",") if waiting and "," in text else len(text)


def _find_setting(key: str, settings: Mapping[str, TextSetting]) -> TextSetting | None:
    matches = (text for name, text in settings.items() if fnmatch.fnmatchcase(key, name))
    return settings.get(key) or next(matches, None)


def _find_text_settings(
    kind: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, TextSetting]]:
    """Yield the settings that are text by their type; `*` stands for a name that users give."""
    for name, field in kind.model_fields.items():
        named = get_origin(field.annotation) in (dict, Mapping)
        sections = find_sections(field.annotation)
        if sections and not prefix:
            yield name, TextSetting(optional=True, choice=True)
        for section in sections:
            yield from _find_text_settings(section, f"{prefix}{name}." + "*." * named)
        types = _list_types(field.annotation)
        if not sections and (str in types or Path in types):
            yield f"{prefix}{name}", TextSetting(NoneType in types, tuple in types)


def _list_types(annotation: Any) -> list[object]:  # noqa: ANN401
    """List all types in an annotation; those of a Literal are values."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal or not inner:
        return [annotation]
    return [origin, *(kind for part in inner for kind in _list_types(part))]
