"""What a comparison of runs says."""

import math
from collections.abc import Iterator

from bgexp.compare.comparison import Comparison, Variant
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.report.finding import Finding, rank_findings
from bgexp.report.wording import describe_change, format_count
from bgexp.sweep.effects import measure_disagreement

MANY_VARIANTS = 5  # of so many variants the best looks better than it is
LARGE_RANGE = 0.2  # images on which IoU, or the share that is kept, differs by more are named


def find_comparison_findings(comparison: Comparison) -> list[Finding]:
    """Return at most five findings of a comparison, the answer to the question first."""
    checks = [
        _find_left_out,
        _find_cautions,
        _find_result,
        _find_preferred,
        _find_setting_effects,
        _find_front,
        _find_divided,
    ]
    return rank_findings(finding for check in checks for finding in check(comparison))


def _find_left_out(comparison: Comparison) -> Iterator[Finding]:
    if comparison.left_out:
        reasons = "; ".join(
            f"{name}: {reason}" for name, reason in list(comparison.left_out.items())[:4]
        )
        title = f"{format_count(len(comparison.left_out), 'run')} left out"
        yield Finding("warning", title, f"{reasons}.", weight=2)
    if comparison.matched.reduced:
        yield Finding(
            "warning", "The runs are over different images", comparison.matched.reduced, weight=1
        )


def _find_cautions(comparison: Comparison) -> Iterator[Finding]:
    for caution in comparison.cautions:
        yield Finding("warning", caution, "Run them again alike to be sure of what differs.")


def _find_result(comparison: Comparison) -> Iterator[Finding]:
    candidates = [variant for variant in comparison.variants if variant.verdict is not None]
    if not comparison.has_truth:
        yield Finding(
            "result",
            "Without truth nothing tells which is best",
            "Checks warn of images to look at; they never choose. Compare by eye with `bgexp "
            "review`, or have some images labelled: `bgexp select` says which.",
        )
        return
    if not candidates:
        return
    best = max(candidates, key=lambda variant: _compute_gain(variant, comparison.metric))
    verdict = best.verdict
    assert verdict is not None
    baseline, caution = comparison.baseline, ""
    if len(candidates) >= MANY_VARIANTS:
        caution = f" The best of {len(candidates)} looks a little better than it is."
    evidence = f"{best.run.name}: {describe_change(verdict.change)}, won {verdict.won:,} and lost "
    evidence += f"{format_count(verdict.lost, 'image')}."
    if verdict.outcome == "better":
        title, evidence = f"{best.run.name} is better than {baseline}", f"{evidence}{caution}"
    elif verdict.outcome == "worse":
        title, evidence = f"{baseline} is better than every other", f"The nearest is {evidence}"
    else:
        title = f"Nothing is surely better than {baseline}"
        evidence = f"{evidence} {verdict.description.capitalize()}.{caution}"
    yield Finding("result", title, evidence)


def _compute_gain(variant: Variant, metric: str) -> float:
    """Return the change in the direction of better; a decided one is before all others."""
    assert variant.verdict is not None
    change = variant.verdict.change.change
    gain = -change if metric in LOWER_IS_BETTER else change
    if math.isnan(gain):
        return -math.inf
    return gain + 10 * (variant.verdict.outcome == "better")


def _find_preferred(comparison: Comparison) -> Iterator[Finding]:
    rates = [
        (variant.run.name, rate)
        for variant, _, rate in comparison.preferences
        if rate.n and variant.run.name != comparison.baseline
    ]
    if rates:
        name, rate = max(rates, key=lambda pair: pair[1].rate)
        evidence = f"In {rate.rate:.0%} of {format_count(rate.n, 'vote')} {name} is preferred to "
        evidence += f"{comparison.baseline} (95 % interval {rate.low:.0%} to {rate.high:.0%})."
        title = f"{name if rate.rate > 0.5 else comparison.baseline} is preferred by eye"
        if not rate.decided:
            title = "By eye it is undecided"
            n = rate.more_votes
            evidence += f" About {format_count(n, 'more vote')} would decide." if n else ""
        yield Finding("result", title, evidence, weight=-1)


def _find_setting_effects(comparison: Comparison) -> Iterator[Finding]:
    effects = [effect for effect in comparison.effects if effect.change.n]
    if effects and effects[0].clear:
        largest = effects[0]
        title = f"{largest.key} matters most: {largest.best or 'not given'} over "
        title += largest.worst or "not given"
        evidence = f"From one to the other the mean changes by {describe_change(largest.change)}."
        yield Finding("note", title, evidence, weight=8)


def _find_front(comparison: Comparison) -> Iterator[Finding]:
    front = [variant.run.name for variant in comparison.variants if variant.on_front]
    if 0 < len(front) < len(comparison.variants) and len(comparison.variants) > 2:
        suffix = f" and {len(front) - 4} more" if len(front) > 4 else ""
        yield Finding(
            "note",
            f"{len(front)} of {len(comparison.variants)} are worth their time",
            f"On the front of quality against time: {', '.join(front[:4])}{suffix}. For any other "
            "one of these is as good and as fast, and better in one of them.",
            weight=6,
        )


def _find_divided(comparison: Comparison) -> Iterator[Finding]:
    ranges = measure_disagreement(comparison.runs)
    disagreeing = ranges[ranges > LARGE_RANGE]
    if len(disagreeing):
        quantity = "IoU" if comparison.has_truth else "the share of the picture that is kept"
        yield Finding(
            "note",
            f"They disagree on {format_count(len(disagreeing), 'image')}",
            f"Their {quantity} differs by more than {LARGE_RANGE:g} there, by {ranges.max():.2f} "
            f"at most; on a typical image by {ranges.median():.3f}.",
            tuple(disagreeing.index),
            weight=5,
        )
