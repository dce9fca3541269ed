"""When numbers are enough to say something, and how they are said."""

import math

from bgexp.metrics.paired import PairedChange
from bgexp.report.finding import counted

MIN_IMAGES = 6  # with five images, not even five changes of one sign are significant at 5 %
MIN_TRUSTED_RHO = 0.5  # a check may choose where its rank correlation is surely above this


def decided(change: PairedChange) -> bool:
    """Return whether a change has a sure sign: enough images, and an interval without 0."""
    return change.n >= MIN_IMAGES and (change.low > 0 or change.high < 0)


def describe_change(change: PairedChange) -> str:
    """Describe a change with its interval, in words."""
    if change.n < MIN_IMAGES:
        return f"{signed(change.change)} on {counted(change.n, 'image')}, too few for an interval"
    interval = f"95 % interval {signed(change.low)} to {signed(change.high)}"
    return f"{signed(change.change)} ({interval}, paired on {change.n:,} images)"


def signed(value: float) -> str:
    """Format a change with its sign and three decimals; a dash where it is undefined.

    >>> signed(0.0425), signed(float("nan"))
    ('+0.043', '–')
    """  # noqa: RUF002
    return "\u2013" if math.isnan(value) else f"{value:+.3f}".replace("-", "\u2212")


def trusted(rho: float, n: int) -> bool:
    """Return whether a check surely ranks images as IoU does, |rho| > 0.5, so that it may choose.

    Surely: the lower end of the 95 % interval by Fisher's z, with the standard error of Bonett and
    Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 2000.

    >>> trusted(0.9, 24), trusted(0.6, 24), trusted(0.6, 400)
    (True, False, True)
    """
    if math.isnan(rho) or n < 4:
        return False
    lower_z = math.atanh(min(abs(rho), 1 - 1e-9)) - 1.96 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(lower_z) > MIN_TRUSTED_RHO


POOR_IOU = 0.5  # an IoU below it: more is wrong than right


CLEAR_DIFFERENCE = 0.05  # a difference of mean IoU, or a share of the images, that is worth a word
