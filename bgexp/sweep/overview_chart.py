"""All jobs of a sweep as lines through their settings and their scores."""

import math
from collections.abc import Sequence

from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.report.labels import get_display_name
from bgexp.report.parallel_coordinates import (
    Axis,
    ParallelCoordinates,
    Trace,
    draw_parallel_coordinates,
)
from bgexp.sweep.effect_charts import is_numeric, read_number
from bgexp.sweep.effects import SCORES, WARNINGS, compute_mean_score, find_varied_settings
from bgexp.sweep.run_result import RunResult
from bgexp.sweep.tables import name_setting


def draw_overview(
    jobs: Sequence[RunResult], ranked: Sequence[RunResult], targets: Sequence[str]
) -> ParallelCoordinates | None:
    """Draw the jobs that have results, the best above; None with fewer than two.

    Args:
        jobs: All jobs.
        ranked: Those with scores, the best first; none without truth.
        targets: The place on the page that each job's line leads to.
    """
    shown = list(ranked[::-1]) or [job for job in jobs if len(job.rows)]
    places = [jobs.index(job) for job in shown]
    varied = find_varied_settings([job.overrides for job in jobs])
    axes = [_make_setting_axis(key, [values[n] for n in places]) for key, values in varied.items()]
    for key in SCORES if ranked else WARNINGS:
        means = [compute_mean_score(job, key) for job in shown]
        name = get_display_name(key.removeprefix("check."))
        axes.append(Axis(name, means, is_falling=key in LOWER_IS_BETTER, digits=3))
    speeds = [job.summary.get("images_per_s") or math.nan for job in shown]
    axes.append(Axis("images/s", speeds, digits=2))
    traces = []
    for rank, (job, place) in enumerate(zip(shown, places, strict=True)):
        is_best = bool(ranked) and job is ranked[0]
        kind = "best" if is_best else "good" if ranked and 2 * rank >= len(shown) else ""
        traces.append(Trace(f"{place}, {job.name}", kind, targets[place]))
    return draw_parallel_coordinates(axes, traces)


def _make_setting_axis(key: str, values: Sequence[str]) -> Axis:
    """Return the axis of a setting: numbers, or words in the order of their numbers."""
    name = name_setting(key)
    if "" not in values and is_numeric(values):
        return Axis(name, [read_number(value) for value in values])
    return Axis(name, [value or "not given" for value in values])
