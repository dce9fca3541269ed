"""What a setting decides, marked at its field; identity, names and cache keys derive from it.

A setting without a mark decides the result.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel


class Role(Enum):
    """What a marked setting decides.

    Attributes:
        SELECTION: Which of the network's detections count; the network finds the same ones.
        SAMPLES: What is kept to look at; no mask depends on it.
        LOCATION: Where data, weights or a promoted model lie; their content counts, by its hash.
        EXECUTION: How fast, how patiently and on what; the device is part of an identity by its
            own name.
        BOOKKEEPING: Where results go and what is recorded or reused; no name tells it.
    """

    SELECTION = "selection"
    SAMPLES = "samples"
    LOCATION = "location"
    EXECUTION = "execution"
    BOOKKEEPING = "bookkeeping"


class Reads(Enum):
    """What a path names that a command reads; it is looked for before the work begins."""

    FILE = "file"
    FOLDER = "folder"


NOT_RESULT = (Role.LOCATION, Role.EXECUTION, Role.BOOKKEEPING)


def find_keys(kind: type[BaseModel], *roles: Role) -> set[str]:
    """Return the dotted names of the settings with one of the roles, in every alternative.

    Examples:
        >>> from bgexp.config.stages import UNet
        >>> find_keys(UNet, Role.LOCATION)
        {'weights'}
    """
    return {key for key, marks in _walk_settings(kind, frozenset()) if marks & set(roles)}


def dump_without(settings: BaseModel, *roles: Role) -> dict[str, Any]:
    """Return settings as JSON has them, nested, without those with one of the roles."""
    fields = type(settings).model_fields.items()
    kept = {name for name, field in fields if not set(roles) & read_marks(field.metadata)}
    values = settings.model_dump(mode="json", include=kept)
    for name in kept:
        section = getattr(settings, name)
        if isinstance(section, BaseModel):
            values[name] = dump_without(section, *roles)
        elif isinstance(section, Mapping):  # sections by a name that the user gave
            values[name] = {key: dump_without(inner, *roles) for key, inner in section.items()}
    return values


def _walk_settings(
    kind: type[BaseModel], inherited: frozenset[Role]
) -> Iterator[tuple[str, frozenset[Role]]]:
    """Yield each setting's dotted name and its marks, those of its sections included."""
    for name, field in kind.model_fields.items():
        marks = inherited | read_marks(field.metadata)
        sections = find_sections(field.annotation)
        if not sections:
            yield name, marks
        for section in sections:
            for key, inner_marks in _walk_settings(section, marks):
                yield f"{name}.{key}", inner_marks


def read_marks(metadata: list[Any]) -> frozenset[Role]:
    """Return the roles among a field's metadata."""
    return frozenset(mark for mark in metadata if isinstance(mark, Role))


def find_sections(annotation: object) -> list[type[BaseModel]]:
    """Return the sections that an annotation allows: itself, or the members of a union."""
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [section for part in get_args(annotation) for section in find_sections(part)]
