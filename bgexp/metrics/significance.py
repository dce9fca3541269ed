"""When paired numbers are enough to say something."""

import math

from bgexp.metrics.paired import PairedChange

MIN_IMAGES = 6  # with five images, not even five changes of one sign are significant at 5 %
MIN_TRUSTED_RHO = 0.5  # a check may choose where its rank correlation is surely above this


def is_decided(change: PairedChange) -> bool:
    """Return whether a change has a sure sign: enough images, and an interval without 0."""
    return change.n >= MIN_IMAGES and (change.low > 0 or change.high < 0)


def is_trusted(rho: float, n: int) -> bool:
    """Return whether a check surely ranks images as IoU does, |rho| > 0.5, so that it may choose.

    Surely: the lower end of the 95 % interval by Fisher's z, with the standard error of Bonett and
    Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 2000.

    >>> is_trusted(0.9, 24), is_trusted(0.6, 24), is_trusted(0.6, 400)
    (True, False, True)
    """
    if math.isnan(rho) or n < 4:
        return False
    lower_z = math.atanh(min(abs(rho), 1 - 1e-9)) - 1.96 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(lower_z) > MIN_TRUSTED_RHO
