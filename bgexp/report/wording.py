"""How numbers are said in words."""

import math

from bgexp.metrics.paired import PairedChange
from bgexp.metrics.significance import MIN_IMAGES


def format_count(number: int, noun: str) -> str:
    """Format a number with its noun.

    >>> format_count(1, "image"), format_count(4431, "image")
    ('1 image', '4,431 images')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_signed(value: float) -> str:
    """Format a change with its sign and three decimals; a dash where it is undefined.

    >>> format_signed(0.0425), format_signed(float("nan"))
    ('+0.043', '–')
    """  # noqa: RUF002
    return "\u2013" if math.isnan(value) else f"{value:+.3f}".replace("-", "\u2212")


def describe_change(change: PairedChange) -> str:
    """Describe a change with its interval, in words."""
    if change.n < MIN_IMAGES:
        images = format_count(change.n, "image")
        return f"{format_signed(change.change)} on {images}, too few for an interval"
    interval = f"95 % interval {format_signed(change.low)} to {format_signed(change.high)}"
    return f"{format_signed(change.change)} ({interval}, paired on {change.n:,} images)"
