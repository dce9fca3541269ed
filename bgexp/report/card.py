"""A card of a page: a picture with what is said about it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A number on top of the page."""

    name: str
    value: str
    unit: str
    lines: Sequence[str]
