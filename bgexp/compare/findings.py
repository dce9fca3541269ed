"""What a comparison of runs says."""

import math
from collections.abc import Iterator

from bgexp.compare.comparison import Comparison, Variant
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.report.evidence import describe_change
from bgexp.report.finding import Finding, counted, worst_first
from bgexp.sweep.effects import disagreement

MANY = 5  # of so many variants the best looks better than it is
FAR = 0.2  # images on which IoU, or the share that is kept, differs by more are named


def compare_findings(comparison: Comparison) -> list[Finding]:
    """What stands out: at most five, the answer to what was asked first."""
    found = [_left_out, _cautions, _result, _preferred, _settings, _front, _divided]
    return worst_first(finding for look in found for finding in look(comparison))


def _left_out(comparison: Comparison) -> Iterator[Finding]:
    if comparison.left_out:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(comparison.left_out.items())[:4])
        title = f"{counted(len(comparison.left_out), 'run')} left out"
        yield Finding("warning", title, f"{reasons}.", weight=2)
    if comparison.matched.reduced:
        yield Finding(
            "warning", "The runs are over different images", comparison.matched.reduced, weight=1
        )


def _cautions(comparison: Comparison) -> Iterator[Finding]:
    for caution in comparison.cautions:
        yield Finding("warning", caution, "Run them again alike to be sure of what differs.")


def _result(comparison: Comparison) -> Iterator[Finding]:
    judged = [variant for variant in comparison.variants if variant.against is not None]
    if not comparison.has_truth:
        yield Finding(
            "result",
            "Without truth nothing tells which is best",
            "Checks warn of images to look at; they never choose. Compare by eye with `bgexp "
            "review`, or have some images labelled: `bgexp select` says which.",
        )
        return
    if not judged:
        return
    best = max(judged, key=lambda variant: _gain(variant, comparison.metric))
    against = best.against
    assert against is not None
    base, many = comparison.baseline, ""
    if len(judged) >= MANY:
        many = f" The best of {len(judged)} looks a little better than it is."
    words = f"{best.job.name}: {describe_change(against.change)}, won {against.won:,} and lost "
    words += f"{against.lost:,} images."
    if against.verdict == "better":
        yield Finding("result", f"{best.job.name} is better than {base}", f"{words}{many}")
    elif against.verdict == "worse":
        yield Finding("result", f"{base} is better than every other", f"The nearest is {words}")
    else:
        said = f"{words} {against.told.capitalize()}.{many}"
        yield Finding("result", f"Nothing is surely better than {base}", said)


def _gain(variant: Variant, metric: str) -> float:
    """The change in the direction of better; a decided one is before all others."""
    assert variant.against is not None
    change = variant.against.change.change
    gain = -change if metric in LOWER_IS_BETTER else change
    if math.isnan(gain):
        return -math.inf
    return gain + 10 * (variant.against.verdict == "better")


def _preferred(comparison: Comparison) -> Iterator[Finding]:
    known = [
        (variant.job.name, rate)
        for variant, _, rate in comparison.preferences
        if rate.n and variant.job.name != comparison.baseline
    ]
    if known:
        name, rate = max(known, key=lambda one: one[1].rate)
        said = f"In {rate.rate:.0%} of {counted(rate.n, 'vote')} {name} is preferred to "
        said += f"{comparison.baseline} (95 % interval {rate.low:.0%} to {rate.high:.0%})."
        title = f"{name if rate.rate > 0.5 else comparison.baseline} is preferred by eye"
        if not rate.decided:
            title = "By eye it is undecided"
            more = rate.more_votes
            said += f" About {counted(more, 'more vote')} would decide." if more else ""
        yield Finding("result", title, said, weight=-1)


def _settings(comparison: Comparison) -> Iterator[Finding]:
    known = [effect for effect in comparison.effects if effect.change.n]
    if known and known[0].clear:
        first = known[0]
        title = f"{first.key} matters most: {first.best or 'not given'} over "
        title += first.worst or "not given"
        evidence = f"From one to the other the mean changes by {describe_change(first.change)}."
        yield Finding("note", title, evidence, weight=8)


def _front(comparison: Comparison) -> Iterator[Finding]:
    front = [variant.job.name for variant in comparison.variants if variant.on_front]
    if 0 < len(front) < len(comparison.variants) and len(comparison.variants) > 2:
        more = f" and {len(front) - 4} more" if len(front) > 4 else ""
        yield Finding(
            "note",
            f"{len(front)} of {len(comparison.variants)} are worth their time",
            f"On the front of quality against time: {', '.join(front[:4])}{more}. For any other "
            "one of these is as good and as fast, and better in one of them.",
            weight=6,
        )


def _divided(comparison: Comparison) -> Iterator[Finding]:
    apart = disagreement(comparison.jobs)
    far = apart[apart > FAR]
    if len(far):
        of_what = "IoU" if comparison.has_truth else "the share of the picture that is kept"
        yield Finding(
            "note",
            f"They disagree on {counted(len(far), 'image')}",
            f"Their {of_what} differs by more than {FAR:g} there, by {apart.max():.2f} at most; "
            f"on a typical image by {apart.median():.3f}.",
            tuple(far.index),
            weight=5,
        )
