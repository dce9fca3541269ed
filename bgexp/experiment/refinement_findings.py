"""What refinement did to the masks of a run."""

from collections.abc import Iterator

from bgexp.experiment.run_view import RunView
from bgexp.report.evidence import CLEAR_DIFFERENCE, MIN_IMAGES, signed
from bgexp.report.finding import Finding, column, counted


def refinement_findings(seen: RunView) -> Iterator[Finding]:
    """Whether it helps, whom it hurts, and where it was refused."""
    yield from _refined(seen)
    yield from _hurt(seen)
    yield from _refused(seen)


def _refined(seen: RunView) -> Iterator[Finding]:
    did = seen.summary.get("refinement") or {}
    change = did.get("iou") or {"n": 0}
    if change["n"] < MIN_IMAGES or change["low"] > 0:
        return
    worse = change["high"] < 0
    low, high = signed(change["low"]), signed(change["high"])
    yield Finding(
        "problem" if worse else "note",
        "Refinement makes the masks worse" if worse else "Refinement has no clear effect on IoU",
        f"Mean IoU is {change['before']:.3f} before and {change['after']:.3f} after (95 % interval "
        f"of the change {low} to {high}, paired on {change['n']:,} images); better on "
        f"{change['n_better']:,}, worse on {change['n_worse']:,}. It adds {did['added_ms']:,.0f} "
        "ms an image.",
        setting="refine=none",
        weight=max(0.0, -change["change"]),
    )


def _hurt(seen: RunView) -> Iterator[Finding]:
    change = (column(seen.done, "iou") - column(seen.done, "unrefined.iou")).dropna().sort_values()
    hurt = change[change < -CLEAR_DIFFERENCE]
    if hurt.empty:
        return
    limit = seen.get("refine.max_change")
    yield Finding(
        "warning" if len(hurt) > CLEAR_DIFFERENCE * len(change) else "note",
        f"Refinement costs {counted(len(hurt), 'image')} more than {CLEAR_DIFFERENCE:g} of IoU",
        f"They lose {-hurt.mean():.3f} on average and {-hurt.min():.3f} at most. Over all "
        f"{len(change):,} images refinement changes mean IoU by {signed(change.mean())}.",
        tuple(seen.done["path"][hurt.index]),
        f"refine.max_change={limit / 2:.2g}" if limit else _other(seen),
        -float(hurt.sum()) / len(change),
    )


def _other(seen: RunView) -> str:
    """A refinement that changes less, to try instead."""
    return "refine=grabcut" if seen.get("refine.name") == "unet" else "refine=none"


def _refused(seen: RunView) -> Iterator[Finding]:
    refused = seen.done[seen.done.get("refined", "") == "refused"]
    share = len(refused) / max(1, len(seen.done))
    if share < 2 * CLEAR_DIFFERENCE:
        return
    reason, times = next(iter(refused["fallback"].value_counts().items()))
    limit = seen.get("refine.max_change")
    yield Finding(
        "note",
        f"Refinement was refused on {counted(len(refused), 'image')}",
        f"These {share:.0%} keep the detector's mask. Most often ({times:,} times): {reason}.",
        tuple(refused["path"]),
        f"refine.max_change={2 * limit:g}" if limit and "would change" in str(reason) else "",
        share,
    )
