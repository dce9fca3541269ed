"""How well each truth fits the mask as it is, inverted and turned; how many are empty or full."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bgexp.datasets.load import TURNED
from bgexp.datasets.mask_rule import Truth
from bgexp.experiment.results import ImageResult
from bgexp.metrics.agreement import compute_phi
from bgexp.metrics.counts import BoolMask, ratio

AS_IS, INVERTED = "as they are", "inverted"
_TURNS = {1: "turned by 90 degrees", 2: "turned by 180 degrees", 3: "turned by 270 degrees"}


def measure_truth_fits(mask: BoolMask, truth: Truth) -> dict[str, float]:
    """Measure how well a mask agrees with the truth as it is and altered.

    Returns:
        "share", the truth's share of what is not void; and phi, -1 to 1 or NaN, by alteration. A
        quarter turn only of a square image. Inverted needs no entry: it is minus phi.
    """
    known = truth.foreground.size if truth.void is None else np.count_nonzero(~truth.void)
    fits = {"share": ratio(int(np.count_nonzero(truth.foreground)), int(known))}
    fits[AS_IS] = compute_phi(mask, truth.foreground, truth.void)
    height, width = mask.shape
    for turns in (1, 2, 3) if height == width else (2,):
        planes = (truth.foreground, truth.void)
        foreground, void = (None if p is None else np.rot90(p, turns) for p in planes)
        assert foreground is not None
        fits[_TURNS[turns]] = compute_phi(mask, foreground, void)
    return fits


def summarize_truth(rows: Sequence[ImageResult]) -> dict[str, Any]:
    """Return `summarize_fits` of the rows; {} without truth."""
    scored = [row.truth_fits for row in rows if row.truth_fits]
    n_turned = sum(TURNED in row.reason for row in rows)
    return summarize_fits(scored, n_turned) if scored or n_turned else {}


def summarize_fits(scored: Sequence[Mapping[str, float]], n_turned: int = 0) -> dict[str, Any]:
    """Return how many truths are empty, full, or lie across, and how well each alteration fits.

    By alteration: the images that allow for it, the mean of phi with it and without, and how many
    fit better with it.

    Args:
        scored: What `measure_truth_fits` returned, an image each.
        n_turned: How many lie across.
    """
    shares = [fits["share"] for fits in scored]
    summary: dict[str, Any] = {
        "n": len(scored),
        "n_empty": sum(share == 0 for share in shares),
        "n_full": sum(share == 1 for share in shares),
        "n_turned": n_turned,
        "fits": {},
    }
    for name in (INVERTED, *_TURNS.values()):
        pairs = [
            (fits[AS_IS], -fits[AS_IS] if name == INVERTED else fits.get(name, np.nan))
            for fits in scored
        ]
        before, after = np.array(pairs, float).reshape(-1, 2).T
        is_defined = ~(np.isnan(before) | np.isnan(after))
        if is_defined.any():
            before, after = before[is_defined], after[is_defined]
            summary["fits"][name] = {
                "n": len(before),
                "before": float(before.mean()),
                "after": float(after.mean()),
                "n_better": int((after > before).sum()),
            }
    return summary
