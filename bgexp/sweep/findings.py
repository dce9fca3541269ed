"""What the jobs of a sweep say when they are compared on the same images."""

import shlex
from collections.abc import Iterator, Sequence

from bgexp.metrics.significance import is_decided
from bgexp.report.finding import CLEAR_DIFFERENCE, POOR_IOU, Finding, rank_findings
from bgexp.report.wording import describe_change, format_count
from bgexp.sweep.effects import (
    collect_scores,
    compute_lead,
    compute_mean_score,
    measure_disagreement,
    measure_effects,
    rank_jobs,
)
from bgexp.sweep.run_result import RunResult


def find_sweep_findings(jobs: Sequence[RunResult]) -> list[Finding]:
    """Return at most five findings of a sweep, the worst first, then what decides it."""
    checks = [
        _find_broken,
        _find_best,
        _find_quicker,
        _find_setting_effects,
        _find_hopeless,
        _find_divided,
    ]
    return rank_findings(finding for check in checks for finding in check(jobs))


def _find_broken(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    unfinished = [job for job in jobs if job.summary.get("status") != "finished"]
    if unfinished:
        errors = (job.summary.get("error") for job in unfinished)
        reasons = dict.fromkeys(error or "too many failed images" for error in errors)
        yield Finding(
            "problem",
            f"{len(unfinished)} of {format_count(len(jobs), 'job')} did not finish well",
            f"{', '.join(job.name for job in unfinished[:4])}: {'; '.join(list(reasons)[:3])}.",
            weight=len(unfinished) / len(jobs),
        )


def _find_best(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ordered, ahead = rank_jobs(jobs), compute_lead(jobs)
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
    standing = "is best" if is_decided(ahead) else "leads, but that is undecided"
    advice = "" if is_decided(ahead) else " More images, or a look at the pictures, would decide."
    yield Finding(
        "result",
        f"{best.name} {standing}",
        f"Mean IoU {compute_mean_score(best):.3f}; "
        f"ahead of {second.name} by {describe_change(ahead)}.{advice}",
        setting=shlex.join(best.overrides),
    )


def _find_quicker(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ordered = rank_jobs(jobs)
    if len(ordered) < 2:
        return
    best, speed = ordered[0], _read_speed(ordered[0])
    rival = max(ordered[1:], key=_read_speed)
    behind = compute_mean_score(best) - compute_mean_score(rival)
    if speed > 0 and _read_speed(rival) > 1.5 * speed and behind < CLEAR_DIFFERENCE:
        yield Finding(
            "note",
            f"{rival.name} is {_read_speed(rival) / speed:.1f} times as fast and {behind:.3f} "
            "behind",
            f"{_read_speed(rival):.2f} images/s at mean IoU {compute_mean_score(rival):.3f}, "
            f"against {speed:.2f} at {compute_mean_score(best):.3f}.",
            setting=shlex.join(rival.overrides),
            weight=5,
        )


def _read_speed(job: RunResult) -> float:
    """Return images a second; 0 where that is not known."""
    return float(job.summary.get("images_per_s") or 0)


def _find_setting_effects(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    setting_effects = measure_effects(jobs)
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


def _find_hopeless(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    table = collect_scores(rank_jobs(jobs))
    best = table.max(axis=1).dropna().sort_values(kind="stable")
    poor = best[best < POOR_IOU]
    if not poor.empty and len(table.columns) > 1:
        yield Finding(
            "warning",
            f"{format_count(len(poor), 'image')} below an IoU of {POOR_IOU:g} in every job",
            f"{len(poor) / len(best):.1%} of the images; the best job reaches {poor.mean():.3f} on "
            "them on average. None of these settings helps: another detector, or more training.",
            tuple(poor.index),
            weight=len(poor) / len(best),
        )


def _find_divided(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ranges = measure_disagreement(jobs)
    disagreeing = ranges[ranges > 0.2]
    if disagreeing.empty:
        return
    quantity = "IoU" if rank_jobs(jobs) else "the share of the picture that is kept"
    yield Finding(
        "note",
        f"The jobs disagree on {format_count(len(disagreeing), 'image')}",
        f"Their {quantity} differs by more than 0.2 there, by {ranges.max():.2f} at most; on a "
        f"typical image by {ranges.median():.3f}.",
        tuple(disagreeing.index),
        weight=len(disagreeing) / len(ranges),
    )
