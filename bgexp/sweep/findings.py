"""What the jobs of a sweep say when they are compared on the same images."""

import shlex
from collections.abc import Iterator, Sequence

from bgexp.report.evidence import CLEAR_DIFFERENCE, POOR_IOU, decided, describe_change
from bgexp.report.finding import Finding, RunResult, counted, worst_first
from bgexp.sweep.effects import disagreement, effects, lead, mean_score, ranking, scores


def sweep_findings(jobs: Sequence[RunResult]) -> list[Finding]:
    """What stands out in a sweep: at most five, the worst first, then what decides it."""
    found = [_broken, _best, _quicker, _settings, _hopeless, _divided]
    return worst_first(finding for look in found for finding in look(jobs))


def _broken(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    bad = [job for job in jobs if job.summary.get("status") != "finished"]
    if bad:
        reasons = dict.fromkeys(job.summary.get("error") or "too many failed images" for job in bad)
        yield Finding(
            "problem",
            f"{len(bad)} of {counted(len(jobs), 'job')} did not finish well",
            f"{', '.join(job.name for job in bad[:4])}: {'; '.join(list(reasons)[:3])}.",
            weight=len(bad) / len(jobs),
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
    words = "is best" if decided(ahead) else "leads, but that is undecided"
    last = "" if decided(ahead) else " More images, or a look at the pictures, would decide."
    yield Finding(
        "result",
        f"{best.name} {words}",
        f"Mean IoU {mean_score(best):.3f}; "
        f"ahead of {second.name} by {describe_change(ahead)}.{last}",
        setting=shlex.join(best.overrides),
    )


def _quicker(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    ordered = ranking(jobs)
    if len(ordered) < 2:
        return
    best, speed = ordered[0], _speed(ordered[0])
    fast = max(ordered[1:], key=_speed)
    behind = mean_score(best) - mean_score(fast)
    if speed > 0 and _speed(fast) > 1.5 * speed and behind < CLEAR_DIFFERENCE:
        yield Finding(
            "note",
            f"{fast.name} is {_speed(fast) / speed:.1f} times as fast and {behind:.3f} behind",
            f"{_speed(fast):.2f} images/s at mean IoU {mean_score(fast):.3f}, against {speed:.2f} "
            f"at {mean_score(best):.3f}.",
            setting=shlex.join(fast.overrides),
            weight=5,
        )


def _speed(job: RunResult) -> float:
    """Images a second; 0 where that is not known."""
    return float(job.summary.get("images_per_s") or 0)


def _settings(jobs: Sequence[RunResult]) -> Iterator[Finding]:
    found = effects(jobs)
    if found and found[0].clear:
        first = found[0]
        yield Finding(
            "note",
            f"{first.key} matters most: {first.best} over {first.worst}",
            f"From {first.worst} to {first.best} mean IoU changes by "
            f"{describe_change(first.change)}.",
            setting=f"{first.key}={first.best}",
            weight=8,
        )
    idle = [effect for effect in found if effect.change.n and not effect.clear]
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
    apart = disagreement(jobs)
    far = apart[apart > 0.2]
    if far.empty:
        return
    of_what = "IoU" if ranking(jobs) else "the share of the picture that is kept"
    yield Finding(
        "note",
        f"The jobs disagree on {counted(len(far), 'image')}",
        f"Their {of_what} differs by more than 0.2 there, by {apart.max():.2f} at most; on a "
        f"typical image by {apart.median():.3f}.",
        tuple(far.index),
        weight=len(far) / len(apart),
    )
