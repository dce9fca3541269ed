"""What refinement did to the masks of a run."""

from collections.abc import Iterator

from bgexp.experiment.run_view import RunView
from bgexp.metrics.significance import MIN_IMAGES
from bgexp.report.finding import CLEAR_DIFFERENCE, Finding, get_column
from bgexp.report.wording import format_count, format_signed


def find_refinement_findings(view: RunView) -> Iterator[Finding]:
    """Yield whether refinement helps, which images it hurts, and where it was refused."""
    yield from _find_overall_effect(view)
    yield from _find_hurt(view)
    yield from _find_refused(view)


def _find_overall_effect(view: RunView) -> Iterator[Finding]:
    stats = view.summary.get("refinement") or {}
    change = stats.get("iou") or {"n": 0}
    if change["n"] < MIN_IMAGES or change["low"] > 0:
        return
    worse = change["high"] < 0
    low, high = format_signed(change["low"]), format_signed(change["high"])
    yield Finding(
        "problem" if worse else "note",
        "Refinement makes the masks worse" if worse else "Refinement has no clear effect on IoU",
        f"Mean IoU is {change['before']:.3f} before and {change['after']:.3f} after (95 % interval "
        f"of the change {low} to {high}, paired on {change['n']:,} images); better on "
        f"{change['n_better']:,}, worse on {change['n_worse']:,}. It adds "
        f"{stats['added_ms']:,.0f} ms an image.",
        setting="refine=none",
        weight=max(0.0, -change["change"]),
    )


def _find_hurt(view: RunView) -> Iterator[Finding]:
    rows = view.succeeded
    change = (get_column(rows, "iou") - get_column(rows, "unrefined.iou")).dropna().sort_values()
    worse = change[change < -CLEAR_DIFFERENCE]
    if worse.empty:
        return
    limit = view.get("refine.max_change")
    yield Finding(
        "warning" if len(worse) > CLEAR_DIFFERENCE * len(change) else "note",
        f"Refinement costs {format_count(len(worse), 'image')} more than {CLEAR_DIFFERENCE:g} "
        "of IoU",
        f"They lose {-worse.mean():.3f} on average and {-worse.min():.3f} at most. Over all "
        f"{len(change):,} images refinement changes mean IoU by {format_signed(change.mean())}.",
        tuple(rows["path"][worse.index]),
        f"refine.max_change={limit / 2:.2g}" if limit else _suggest_milder_refinement(view),
        -float(worse.sum()) / len(change),
    )


def _suggest_milder_refinement(view: RunView) -> str:
    """Return an override for a refinement that changes less, to try instead."""
    return "refine=grabcut" if view.get("refine.name") == "unet" else "refine=none"


def _find_refused(view: RunView) -> Iterator[Finding]:
    refused = view.succeeded[view.succeeded.get("refined", "") == "refused"]
    share = len(refused) / max(1, len(view.succeeded))
    if share < 2 * CLEAR_DIFFERENCE:
        return
    reason, times = next(iter(refused["fallback"].value_counts().items()))
    limit = view.get("refine.max_change")
    yield Finding(
        "note",
        f"Refinement was refused on {format_count(len(refused), 'image')}",
        f"These {share:.0%} keep the detector's mask. Most often ({times:,} times): {reason}.",
        tuple(refused["path"]),
        f"refine.max_change={2 * limit:g}" if limit and "would change" in str(reason) else "",
        share,
    )
