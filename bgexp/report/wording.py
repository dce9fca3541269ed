"""How numbers are said in words."""

import math

from bgexp.metrics.paired import PairedChange
from bgexp.metrics.significance import MIN_IMAGES


def counted(number: int, noun: str) -> str:
    """Format a number with its noun.

    >>> counted(1, "image"), counted(4431, "image")
    ('1 image', '4,431 images')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def signed(value: float) -> str:
    """Format a change with its sign and three decimals; a dash where it is undefined.

    >>> signed(0.0425), signed(float("nan"))
    ('+0.043', '–')
    """  # noqa: RUF002
    return "\u2013" if math.isnan(value) else f"{value:+.3f}".replace("-", "\u2212")


def describe_change(change: PairedChange) -> str:
    """Describe a change with its interval, in words."""
    if change.n < MIN_IMAGES:
        return f"{signed(change.change)} on {counted(change.n, 'image')}, too few for an interval"
    interval = f"95 % interval {signed(change.low)} to {signed(change.high)}"
    return f"{signed(change.change)} ({interval}, paired on {change.n:,} images)"
