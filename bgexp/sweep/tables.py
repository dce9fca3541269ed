"""The tables of a sweep's page: its jobs, what each setting does, refinement, the checks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bgexp.metrics.checks import CHECKS
from bgexp.metrics.paired import rank_agreement
from bgexp.metrics.significance import MIN_IMAGES, decided, trusted
from bgexp.report.finding import column
from bgexp.report.labels import display_name
from bgexp.report.render import Cell, Table, change, figure
from bgexp.report.tables import interval, trust_sentence, verdict
from bgexp.report.wording import describe_change
from bgexp.sweep.effects import SCORES, WARNINGS, Effect, lead, mean_score, varied_settings
from bgexp.sweep.run_result import RunResult


def jobs_table(jobs: Sequence[RunResult], ranked: Sequence[RunResult]) -> Table:
    """Tabulate the jobs in their order; `ranked` are those with scores, the best first."""
    keys = (*SCORES, "check.nothing_found") if ranked else WARNINGS
    varied = varied_settings([job.overrides for job in jobs])
    rows = []
    for place, job in enumerate(jobs):
        is_best = len(ranked) > 1 and job is ranked[0]
        rows.append(
            [
                Cell(str(place), place, link=job.link, strong=is_best),
                *(Cell(values[place], strong=is_best) for values in varied.values()),
                Cell(_standing(job, ranked), strong=is_best),
                *(figure(mean_score(job, key), bar=key == "iou") for key in keys),
                figure((job.summary.get("counts") or {}).get("failed"), 0),
                figure(job.summary.get("images_per_s"), 2),
                Cell("open", link=job.link.rpartition("/")[0]) if job.link else Cell(""),
            ]
        )
    names = [key.rpartition(".")[2] for key in varied]
    score_names = [display_name(key.removeprefix("check.")) for key in keys]
    columns = ("job", *names, "standing", *score_names, "failed", "images/s", "folder")
    return Table("Jobs", columns, rows, "jobs.csv")


def _standing(job: RunResult, ranked: Sequence[RunResult]) -> str:
    """Return what is special about a job, in a word or two."""
    if job.summary.get("status") != "finished":
        return str(job.summary.get("status", "unknown"))
    if len(ranked) > 1 and job is ranked[0]:
        margin = lead(ranked)
        return "best" if margin is not None and decided(margin) else "leads, undecided"
    return "reused" if job.summary.get("reused_from") else ""


@dataclass(frozen=True)
class EffectPart:
    """A swept setting: its name, its change in words, and a row a value."""

    key: str
    sentence: str
    table: Table


def effect_part(effect: Effect) -> EffectPart:
    """Describe the effect of one swept setting."""
    keys = [key for key in effect.values if key not in ("value", "n_jobs")]
    rows = [
        [
            Cell(row["value"] or "not given"),
            *(figure(row[key], bar=key == "iou") for key in keys),
            figure(row["n_jobs"], 0),
        ]
        for row in effect.values.to_dict("records")
    ]
    sentence = "" if math.isnan(rows[0][1].sort or 0) else "never varied alone"
    if effect.change.n:
        values = f"{effect.worst or 'not given'} to {effect.best or 'not given'}"
        sentence = f"{values}: {describe_change(effect.change)}"
        sentence += "" if effect.clear else "; no clear effect"
    names = [display_name(key.removeprefix("check.")) for key in keys]
    return EffectPart(effect.key, sentence, Table(effect.key, ("value", *names, "jobs"), rows))


def refinement_table(jobs: Sequence[RunResult]) -> Table | None:
    """Tabulate what refinement changed in each job that had it; None where none had."""
    refined = [(job.name, job.summary.get("refinement") or {}) for job in jobs]
    refined = [(name, change) for name, change in refined if change]
    if not refined:
        return None
    has_truth = any(change.get("iou") for _, change in refined)
    rows = [
        [
            Cell(name),
            *(_change_cells(change) if has_truth else ()),
            *(figure(change.get(key), 0) for key in ("n_skipped", "n_refused", "added_ms")),
        ]
        for name, change in refined
    ]
    changes = ("IoU", "95 % interval", "Boundary IoU", "better", "worse") if has_truth else ()
    columns = ("job", *changes, "skipped", "refused", "added ms")
    return Table("Change by refinement", columns, rows)


def _change_cells(refinement: Mapping[str, Any]) -> list[Cell]:
    iou, boundary = refinement.get("iou") or {}, refinement.get("boundary_iou") or {}
    return [
        change(iou.get("change")),
        Cell(interval(iou)),
        change(boundary.get("change")),
        *(figure(iou.get(key), 0) for key in ("n_better", "n_worse")),
    ]


def ranks_table(jobs: Sequence[RunResult]) -> tuple[Table | None, str]:
    """Tabulate how each check ranks images (within a job) and jobs as IoU does; all have scores."""
    several = len(jobs) >= MIN_IMAGES  # fewer have a perfect order by chance too often
    rows: list[tuple[float, list[Cell]]] = []
    trusted_names: list[str] = []
    for key in CHECKS if jobs else ():
        within = [_rank_within_job(job, key) for job in jobs]
        rho = float(pd.Series([value for value, _ in within], dtype=float).mean())
        n = min(n for _, n in within)
        trusted_names += [display_name(key)] if trusted(rho, n) else []
        over = [change(_rank_over_jobs(jobs, key))] if several else []
        cells = [Cell(display_name(key)), change(rho), *over, figure(n, 0), verdict(rho, n)]
        rows.append((1.0 if math.isnan(rho) else -abs(rho), cells))
    rows.sort(key=lambda row: row[0])
    heading = ("\u03c1 over jobs",) if several else ()
    columns = ("check", "\u03c1 over images", *heading, "images", "within a job")
    table = Table("Rank correlation of the checks with IoU", columns, [cells for _, cells in rows])
    return table if rows else None, trust_sentence(trusted_names)


def _rank_within_job(job: RunResult, key: str) -> tuple[float, int]:
    agreement = rank_agreement(column(job.rows, f"check.{key}"), column(job.rows, "iou"))
    return agreement.spearman, agreement.n


def _rank_over_jobs(jobs: Sequence[RunResult], key: str) -> float:
    checks = [mean_score(job, f"check.{key}") for job in jobs]
    return rank_agreement(checks, [mean_score(job) for job in jobs]).spearman
