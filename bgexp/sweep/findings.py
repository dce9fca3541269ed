"""What the jobs of a sweep say when they are compared on the same images."""

import shlex
from collections.abc import Iterator, Sequence

from bgexp.metrics.significance import decided
from bgexp.report.finding import CLEAR_DIFFERENCE, POOR_IOU, Finding, worst_first
from bgexp.report.wording import counted, describe_change
from bgexp.sweep.effects import disagreement, effects, lead, mean_score, ranking, scores
from bgexp.sweep.run_result import RunResult


def sweep_findings(jobs: Sequence[RunResult]) -> list[Finding]:
    """Return at most five findings of a sweep, the worst first, then what decides it."""
    checks = [_broken, _best, _quicker, _settings, _hopeless, _divided]
    return worst_first(finding for check in checks for finding in check(jobs))


def _broken(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    unfinished = [job for job in jobs if job.summary.get("status") != "finished"]
    if unfinished:
        errors = (job.summary.get("error") for job in unfinished)
        reasons = dict.fromkeys(error or "too many failed images" for error in errors)
        yield Finding(
            "problem",
            f"{len(unfinished)} of {counted(len(jobs), 'job')} did not finish well",
            f"{', '.join(job.name for job in unfinished[:4])}: {'; '.join(list(reasons)[:3])}.",
            weight=len(unfinished) / len(jobs),
        )


def _best(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ordered, ahead = ranking(jobs), lead(jobs)
    if not ordered:
        yield Finding(
            "result",
            "Without truth no job is the best one",
            "Checks warn of images to look at; they do not choose. Give masks for some images "
            "with dataset=pairs, or compare the pictures below by eye.",
        )
    if ahead is None:
        return
    best, second = ordered[:2]
    standing = "is best" if decided(ahead) else "leads, but that is undecided"
    advice = "" if decided(ahead) else " More images, or a look at the pictures, would decide."
    yield Finding(
        "result",
        f"{best.name} {standing}",
        f"Mean IoU {mean_score(best):.3f}; "
        f"ahead of {second.name} by {describe_change(ahead)}.{advice}",
        setting=shlex.join(best.overrides),
    )


def _quicker(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ordered = ranking(jobs)
    if len(ordered) < 2:
        return
    best, speed = ordered[0], _speed(ordered[0])
    rival = max(ordered[1:], key=_speed)
    behind = mean_score(best) - mean_score(rival)
    if speed > 0 and _speed(rival) > 1.5 * speed and behind < CLEAR_DIFFERENCE:
        yield Finding(
            "note",
            f"{rival.name} is {_speed(rival) / speed:.1f} times as fast and {behind:.3f} behind",
            f"{_speed(rival):.2f} images/s at mean IoU {mean_score(rival):.3f}, against "
            f"{speed:.2f} at {mean_score(best):.3f}.",
            setting=shlex.join(rival.overrides),
            weight=5,
        )


def _speed(job: RunResult) -> float:
    """Return images a second; 0 where that is not known."""
    return float(job.summary.get("images_per_s") or 0)


def _settings(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    setting_effects = effects(jobs)
    if setting_effects and setting_effects[0].clear:
        largest = setting_effects[0]
        yield Finding(
            "note",
            f"{largest.key} matters most: {largest.best} over {largest.worst}",
            f"From {largest.worst} to {largest.best} mean IoU changes by "
            f"{describe_change(largest.change)}.",
            setting=f"{largest.key}={largest.best}",
            weight=8,
        )
    idle = [effect for effect in setting_effects if effect.change.n and not effect.clear]
    if idle:
        changes = "; ".join(
            f"{e.key}, {e.worst} to {e.best}: {describe_change(e.change)}" for e in idle
        )
        keys = " and ".join(effect.key for effect in idle)
        yield Finding("note", f"No clear effect of {keys}", f"{changes}.", weight=7)


def _hopeless(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    table = scores(ranking(jobs))
    best = table.max(axis=1).dropna().sort_values(kind="stable")
    poor = best[best < POOR_IOU]
    if not poor.empty and len(table.columns) > 1:
        yield Finding(
            "warning",
            f"{counted(len(poor), 'image')} below an IoU of {POOR_IOU:g} in every job",
            f"{len(poor) / len(best):.1%} of the images; the best job reaches {poor.mean():.3f} on "
            "them on average. None of these settings helps: another detector, or more training.",
            tuple(poor.index),
            weight=len(poor) / len(best),
        )


def _divided(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ranges = disagreement(jobs)
    disagreeing = ranges[ranges > 0.2]
    if disagreeing.empty:
        return
    quantity = "IoU" if ranking(jobs) else "the share of the picture that is kept"
    yield Finding(
        "note",
        f"The jobs disagree on {counted(len(disagreeing), 'image')}",
        f"Their {quantity} differs by more than 0.2 there, by {ranges.max():.2f} at most; on a "
        f"typical image by {ranges.median():.3f}.",
        tuple(disagreeing.index),
        weight=len(disagreeing) / len(ranges),
    )
