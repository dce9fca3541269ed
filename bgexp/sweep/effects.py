"""The jobs of a sweep side by side on the same images: what differs, who is ahead, by how much."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from bgexp.metrics.paired import PairedChange, compute_paired_change
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.metrics.significance import is_decided
from bgexp.report.finding import get_column
from bgexp.sweep.run_result import RunResult

MIN_EFFECT = 0.005  # a difference of mean IoU below it is of no use to anybody
SCORES = ("iou", "boundary_iou", "foreground_recall", "background_leakage")
WARNINGS = ("check.coverage", "check.nothing_found", "check.confidence")


@dataclass(frozen=True, eq=False)
class Effect:
    """The effect of one swept setting, over all jobs that have its values.

    Attributes:
        key: The setting's name.
        values: A row a value: `value`, `n_jobs`, and the mean of each score (without truth, of
            each check) over its jobs.
        change: Of mean IoU (or another metric), from the worst value to the best one, on the same
            images; of no image without truth, or where the setting never varies alone.
        worst, best: These two values.
        per_image: By score, a row an image and a column a value; empty tables where the setting
            never varies alone.
        clusters: For each image (path) its cluster, as in `compute_paired_change`.
    """

    key: str
    values: pd.DataFrame
    change: PairedChange
    worst: str
    best: str
    per_image: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    clusters: Mapping[str, str] | None = None

    @property
    def clear(self) -> bool:
        """Whether the setting matters: the change is decided and not tiny."""
        return is_decided(self.change) and abs(self.change.change) >= MIN_EFFECT


def find_varied_settings(overrides: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the settings that differ between jobs, from the overrides of each.

    >>> find_varied_settings([["seed=1", "refine=none"], ["seed=1", "refine=grabcut", "size=9"]])
    {'refine': ['none', 'grabcut'], 'size': ['', '9']}
    """
    job_settings = [dict(o.partition("=")[::2] for o in job) for job in overrides]
    keys = dict.fromkeys(key for settings in job_settings for key in settings)
    values = {key: [settings.get(key, "") for settings in job_settings] for key in keys}
    return {key: options for key, options in values.items() if len(set(options)) > 1}


def name_jobs(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Return a short name for each job, by the settings that differ; a number where none does.

    >>> name_jobs([["seed=1", "detector.score_threshold=0.5"], ["detector.score_threshold=0.7"]])
    ['seed=1 score_threshold=0.5', 'score_threshold=0.7']
    """
    differing = find_varied_settings(overrides)
    names = [
        " ".join(
            f"{key.rpartition('.')[2]}={values[number]}"
            for key, values in differing.items()
            if values[number]
        )
        for number in range(len(overrides))
    ]
    return [
        name if name and names.count(name) == 1 else f"{name} #{number}".strip()
        for number, name in enumerate(names)
    ]


def collect_scores(jobs: Sequence[RunResult], key: str = "iou") -> pd.DataFrame:
    """Return a column of all jobs' rows: a row an image (path), a column a job's name."""
    columns = {}
    for job in jobs:
        values = get_column(job.rows, key)
        values.index = pd.Index(job.rows["path"] if len(job.rows) else [], dtype=object)
        columns[job.name] = values
    return pd.DataFrame(columns, dtype=float)


def compute_mean_score(job: RunResult, key: str = "iou") -> float:
    """Return the mean of one column over a job's images; NaN where none has it."""
    return float(get_column(job.rows, key).mean())


def rank_jobs(jobs: Sequence[RunResult]) -> list[RunResult]:
    """Rank the jobs with a mean IoU, best first; equal ones in their order.

    The mean is that over the images which all of them have scored: where one failed on a hard
    image, the others do not suffer for it.
    """
    scored = [job for job in jobs if not math.isnan(compute_mean_score(job))]
    table = collect_scores(scored)
    means = (table.dropna() if len(table.dropna()) else table).mean()
    return sorted(scored, key=lambda job: means[job.name], reverse=True)


def compute_lead(jobs: Sequence[RunResult]) -> PairedChange | None:
    """Compute how far the best job is ahead of the second; None with fewer than two scored jobs."""
    first = rank_jobs(jobs)[:2]
    if len(first) < 2:
        return None
    table = collect_scores(first)
    return compute_paired_change(*(table[job.name].to_numpy() for job in reversed(first)))


def measure_effects(
    jobs: Sequence[RunResult], metric: str = "iou", clusters: Mapping[str, str] | None = None
) -> list[Effect]:
    """Measure the effect of each swept setting, the largest change first.

    Compared are only jobs that differ in nothing else: where one of them broke, its counterparts
    are left out. A value's score on an image is the mean over its jobs.

    Args:
        jobs: All jobs.
        metric: One of METRICS, by which values are compared.
        clusters: For each image (path) its cluster, as in `compute_paired_change`.
    """
    jobs = [job for job in jobs if len(job.rows)]
    keys = find_varied_settings([job.overrides for job in jobs])
    results = [_measure_effect(key, jobs, metric, clusters) for key in keys]
    return sorted(results, key=lambda effect: -abs(effect.change.change) if effect.change.n else 0)


def _measure_effect(
    key: str, jobs: Sequence[RunResult], metric: str, clusters: Mapping[str, str] | None
) -> Effect:
    comparable = _find_comparable_jobs(key, jobs)
    groups: dict[str, list[RunResult]] = {}
    for job in comparable or jobs:
        groups.setdefault(_read_settings(job).get(key, ""), []).append(job)
    keys = dict.fromkeys((metric, *SCORES)) if rank_jobs(jobs) else WARNINGS
    per_image = {
        score: pd.DataFrame(
            {v: collect_scores(group, score).mean(axis=1) for v, group in groups.items()}
        )
        for score in dict.fromkeys((metric, *keys))
    }
    order = _order_values(per_image[metric], metric)
    if not comparable:
        per_image = {score: table[:0] for score, table in per_image.items()}
    change = _compare_values(per_image[metric], order[0], order[-1], clusters)
    table = pd.DataFrame(
        [_compute_mean_scores(value, group, keys) for value, group in groups.items()]
    )
    return Effect(key, table, change, order[0], order[-1], per_image, clusters)


def compare_with_best(effect: Effect, score: str) -> dict[str, PairedChange]:
    """Compare each value of a setting with its best one by a score, on the same images.

    Returns:
        By value, the change from the best one, which comes first; {} without truth, or where the
        setting never varies alone.
    """
    table = effect.per_image[score]
    if score in WARNINGS or table.empty or table.isna().all(axis=None):
        return {}
    order = _order_values(table, score)[::-1]
    return {value: _compare_values(table, order[0], value, effect.clusters) for value in order}


def _order_values(per_image: pd.DataFrame, score: str) -> list[str]:
    """Order a setting's values by the mean of a score, the best last."""
    rising = score not in LOWER_IS_BETTER
    return list(per_image.mean().sort_values(kind="stable", ascending=rising).index)


def _compare_values(
    per_image: pd.DataFrame, before: str, after: str, clusters: Mapping[str, str] | None
) -> PairedChange:
    image_clusters = None if clusters is None else [clusters[path] for path in per_image.index]
    first, second = (per_image[value].to_numpy() for value in (before, after))
    return compute_paired_change(first, second, image_clusters)


def _find_comparable_jobs(key: str, jobs: Sequence[RunResult]) -> list[RunResult]:
    """Return the jobs that exist with every value of one setting, all others being equal.

    Where not all values occur with the same others (a band without refinement does not), those
    that do in most jobs; none where a setting never varies alone.
    """
    blocks: dict[tuple[tuple[str, str], ...], list[RunResult]] = {}
    for job in jobs:
        other_settings = {name: value for name, value in _read_settings(job).items() if name != key}
        blocks.setdefault(tuple(sorted(other_settings.items())), []).append(job)
    together: dict[frozenset[str], list[RunResult]] = {}
    for block in blocks.values():
        values = frozenset(_read_settings(job).get(key, "") for job in block)
        if len(values) > 1:
            together.setdefault(values, []).extend(block)
    return max(together.values(), key=len, default=[])


def _read_settings(job: RunResult) -> dict[str, str]:
    return dict(override.partition("=")[::2] for override in job.overrides)


def _compute_mean_scores(
    value: str, jobs: Sequence[RunResult], keys: Iterable[str]
) -> dict[str, object]:
    means = {key: pd.Series([compute_mean_score(job, key) for job in jobs]).mean() for key in keys}
    return {"value": value, "n_jobs": len(jobs), **means}


def measure_disagreement(jobs: Sequence[RunResult]) -> "pd.Series[float]":
    """Return the range of the jobs' scores on each image (path), the largest first.

    The range of IoU; without truth, the range of the share of the picture that is kept.
    """
    table = collect_scores(jobs, "iou" if rank_jobs(jobs) else "check.coverage")
    ranges = (table.max(axis=1) - table.min(axis=1)).dropna()
    return ranges.sort_values(ascending=False, kind="stable")
