"""The colour behind the foreground, as people write it."""

import re
from typing import Literal

Color = tuple[int, int, int] | Literal["transparent"]

_NAMED: dict[str, Color] = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "transparent": "transparent",
}


BLUR = "blur"  # a background that is the image's own


def is_picture(background: str) -> bool:
    """Return whether a background is the path of a picture: no colour's name, but with a suffix."""
    return background not in (*_NAMED, BLUR) and "." in background.rpartition("/")[2]


def parse_color(text: str) -> Color:
    """Parse a background: black, white, transparent or #rrggbb.

    Returns:
        Red, green and blue from 0 to 255, or "transparent".

    Raises:
        ValueError: For anything else.

    >>> parse_color("#ff8000")
    (255, 128, 0)
    """
    if text in _NAMED:
        return _NAMED[text]
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(
            f"background: expected {', '.join(_NAMED)}, {BLUR}, #rrggbb or a picture's path, "
            f"got {text!r}"
        )
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
