"""Correlation of two masks: unlike overlap, it tells an inverted truth from a poor mask."""

import math

from bgexp.metrics.counts import BoolMask, count, leave_out


def compute_phi(mask: BoolMask, truth: BoolMask, void: BoolMask | None = None) -> float:
    """Compute the phi coefficient, the correlation of two bool masks, -1 to 1.

    -1 where one is the other's inverse; NaN where one of the two is empty or full.
    """
    mask, truth, n = leave_out(mask, truth, void)
    n_mask, n_truth, n_both = count(mask, truth)
    spread = n_mask * (n - n_mask) * n_truth * (n - n_truth)
    return (n * n_both - n_mask * n_truth) / math.sqrt(spread) if spread else math.nan
