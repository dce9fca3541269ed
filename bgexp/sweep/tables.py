"""The tables of a sweep's page: its jobs, what each setting does, refinement, the checks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bgexp.metrics.checks import CHECKS
from bgexp.metrics.paired import compute_rank_agreement
from bgexp.metrics.significance import MIN_IMAGES, is_decided, is_trusted
from bgexp.report.finding import get_column
from bgexp.report.labels import get_display_name
from bgexp.report.render import Cell, Table, make_change_cell, make_number_cell
from bgexp.report.tables import describe_trust, format_interval, make_verdict_cell
from bgexp.report.wording import describe_change
from bgexp.sweep.effect_charts import EffectChart, draw_effect, read_number
from bgexp.sweep.effects import (
    SCORES,
    WARNINGS,
    Effect,
    compute_lead,
    compute_mean_score,
    find_varied_settings,
)
from bgexp.sweep.run_result import RunResult


def tabulate_jobs(
    jobs: Sequence[RunResult], ranked: Sequence[RunResult], targets: Sequence[str]
) -> Table:
    """Tabulate the jobs; `ranked` are those with scores, the best first, and come first.

    Args:
        jobs: All jobs, in the order of their numbers.
        ranked: As `rank_jobs`.
        targets: The place on the page of each job's row.
    """
    keys = [*SCORES, "check.nothing_found"] if ranked else list(WARNINGS)
    if not any(compute_mean_score(job, "check.nothing_found") > 0 for job in jobs):
        keys.remove("check.nothing_found")
    failed = [(job.summary.get("counts") or {}).get("failed") for job in jobs]
    varied = find_varied_settings([job.overrides for job in jobs])
    rows = []
    for job in [*ranked, *(job for job in jobs if job not in ranked)]:
        place, is_best = jobs.index(job), len(ranked) > 1 and job is ranked[0]
        rows.append(
            [
                Cell(str(place), place, link=job.link, strong=is_best, anchor=targets[place]),
                *(make_setting_cell(values[place], is_best) for values in varied.values()),
                Cell(_describe_standing(job, ranked), strong=is_best),
                *(make_number_cell(compute_mean_score(job, key), bar=key == "iou") for key in keys),
                *([make_number_cell(failed[place], 0)] if any(failed) else []),
                make_number_cell(job.summary.get("images_per_s"), 2),
            ]
        )
    score_names = [get_display_name(key.removeprefix("check.")) for key in keys]
    names = ["job", *map(name_setting, varied), "standing", *score_names]
    sorting = (len(varied) + 2, "descending") if ranked else (0, "ascending")
    columns = (*names, *(["failed"] if any(failed) else []), "images/s")
    return Table("Jobs", columns, rows, "jobs.csv", sorting=sorting)


def make_setting_cell(value: str, strong: bool = False) -> Cell:
    """Return the cell of a setting's value; a number is sorted as one."""
    number = read_number(value)
    return Cell(value, None if math.isnan(number) else number, strong=strong)


def name_setting(key: str) -> str:
    """Return a setting's name as a heading, which may be broken between words.

    >>> name_setting("detector.score_threshold")
    'score threshold'
    """
    return key.rpartition(".")[2].replace("_", " ")


def _describe_standing(job: RunResult, ranked: Sequence[RunResult]) -> str:
    """Return what is special about a job, in a word or two."""
    if job.summary.get("status") != "finished":
        return str(job.summary.get("status", "unknown"))
    if len(ranked) > 1 and job is ranked[0]:
        margin = compute_lead(ranked)
        return "best" if margin is not None and is_decided(margin) else "leads, undecided"
    return "reused" if job.summary.get("reused_from") else ""


@dataclass(frozen=True)
class EffectPart:
    """A swept setting: its name, its change in words, a row a value, and curves over numbers."""

    key: str
    sentence: str
    table: Table
    charts: Sequence[EffectChart]


def describe_effect(effect: Effect) -> EffectPart:
    """Describe the effect of one swept setting."""
    keys = [key for key in effect.values if key not in ("value", "n_jobs")]
    rows = [
        [
            make_setting_cell(row["value"] or "not given"),
            *(make_number_cell(row[key], bar=key == "iou") for key in keys),
            make_number_cell(row["n_jobs"], 0),
        ]
        for row in effect.values.to_dict("records")
    ]
    sentence = "" if math.isnan(rows[0][1].sort or 0) else "never varied alone"
    if effect.change.n:
        values = f"{effect.worst or 'not given'} to {effect.best or 'not given'}"
        sentence = f"{values}: {describe_change(effect.change)}"
        sentence += "" if effect.clear else "; no clear effect"
    names = [get_display_name(key.removeprefix("check.")) for key in keys]
    table = Table(effect.key, ("value", *names, "jobs"), rows)
    return EffectPart(effect.key, sentence, table, draw_effect(effect))


def tabulate_refinement(jobs: Sequence[RunResult]) -> Table | None:
    """Tabulate what refinement changed in each job that had it; None where none had."""
    refined = [(job.name, job.summary.get("refinement") or {}) for job in jobs]
    refined = [(name, change) for name, change in refined if change]
    if not refined:
        return None
    has_truth = any(change.get("iou") for _, change in refined)
    rows = [
        [
            Cell(name),
            *(_format_changes(change) if has_truth else ()),
            *(
                make_number_cell(change.get(key), 0)
                for key in ("n_skipped", "n_refused", "added_ms")
            ),
        ]
        for name, change in refined
    ]
    changes = ("IoU", "95 % interval", "Boundary IoU", "better", "worse") if has_truth else ()
    columns = ("job", *changes, "skipped", "refused", "added ms")
    return Table("Change by refinement", columns, rows)


def _format_changes(refinement: Mapping[str, Any]) -> list[Cell]:
    iou, boundary = refinement.get("iou") or {}, refinement.get("boundary_iou") or {}
    return [
        make_change_cell(iou.get("change")),
        Cell(format_interval(iou)),
        make_change_cell(boundary.get("change")),
        *(make_number_cell(iou.get(key), 0) for key in ("n_better", "n_worse")),
    ]


def tabulate_ranks(jobs: Sequence[RunResult]) -> tuple[Table | None, str]:
    """Tabulate how each check ranks images (within a job) and jobs as IoU does; all have scores."""
    several = len(jobs) >= MIN_IMAGES  # fewer have a perfect order by chance too often
    rows: list[tuple[float, list[Cell]]] = []
    trusted_names: list[str] = []
    for key in CHECKS if jobs else ():
        within = [_rank_within_job(job, key) for job in jobs]
        rho = float(pd.Series([value for value, _ in within], dtype=float).mean())
        n = min(n for _, n in within)
        trusted_names += [get_display_name(key)] if is_trusted(rho, n) else []
        over = [make_change_cell(_rank_over_jobs(jobs, key))] if several else []
        cells = [
            Cell(get_display_name(key)),
            make_change_cell(rho),
            *over,
            make_number_cell(n, 0),
            make_verdict_cell(rho, n),
        ]
        rows.append((1.0 if math.isnan(rho) else -abs(rho), cells))
    rows.sort(key=lambda row: row[0])
    heading = ("\u03c1 over jobs",) if several else ()
    columns = ("check", "\u03c1 over images", *heading, "images", "within a job")
    table = Table("Rank correlation of the checks with IoU", columns, [cells for _, cells in rows])
    return table if rows else None, describe_trust(trusted_names)


def _rank_within_job(job: RunResult, key: str) -> tuple[float, int]:
    agreement = compute_rank_agreement(
        get_column(job.rows, f"check.{key}"), get_column(job.rows, "iou")
    )
    return agreement.spearman, agreement.n


def _rank_over_jobs(jobs: Sequence[RunResult], key: str) -> float:
    checks = [compute_mean_score(job, f"check.{key}") for job in jobs]
    return compute_rank_agreement(checks, [compute_mean_score(job) for job in jobs]).spearman
