"""Variants against a baseline on the same images: paired, with what would decide it. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from bgexp.compare.common_images import CommonImages
from bgexp.compare.verdict import Verdict, judge_change
from bgexp.metrics.aggregation import Aggregate
from bgexp.metrics.bradley_terry import BradleyTerryScore, compute_bradley_terry
from bgexp.metrics.checks import CHECKS
from bgexp.metrics.matting import MATTING_METRICS
from bgexp.metrics.paired import compute_paired_change
from bgexp.metrics.pareto import find_pareto_front
from bgexp.metrics.performance import LOWER_IS_BETTER, METRICS
from bgexp.metrics.win_rate import (
    SelfAgreement,
    Vote,
    WinRate,
    compute_self_agreement,
    compute_win_rate,
)
from bgexp.report.finding import get_column
from bgexp.sweep.effects import Effect, collect_scores, measure_effects
from bgexp.sweep.run_result import RunResult
from bgexp.tracking.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class Variant:
    """One of the runs that are compared.

    Attributes:
        run: Its overrides are the settings in which the runs differ; its rows are of the common
            images.
        metrics: Means by METRICS; checks: by CHECKS; NaN where there are none.
        seconds: Seconds an image, by the stages' times.
        on_front: Whether it is on the Pareto front of quality and time.
        verdict: Against the baseline; None for itself and without truth.
        agreement: With the reference run's masks, by iou, boundary_iou and dice; {} without one.
    """

    run: RunResult
    metrics: Mapping[str, float]
    checks: Mapping[str, float]
    seconds: float
    on_front: bool
    verdict: Verdict | None
    agreement: Mapping[str, Aggregate] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The id of the run in the store."""
        return str(self.run.summary["run_id"])

    @property
    def failed(self) -> int:
        """The number of common images that failed."""
        return int(self.run.summary["counts"]["failed"])


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side on the same images.

    Attributes:
        variants: In the order in which they were named.
        baseline: The name of the variant that the others are compared with.
        metric: The metric of the comparison, one of METRICS.
        cluster: What is resampled whole: "category", or None for each image by itself.
        matched: The common images.
        effects: The effect of each setting that differs.
        left_out: Runs that could not be compared, and why.
        cautions: What else differs and may be taken for an effect of the settings.
        reference: The run whose masks agreement is with; empty for none.
        folders: Run folders by a variant's name.
        votes: Votes on results of two of these runs.
    """

    variants: Sequence[Variant]
    baseline: str
    metric: str
    cluster: str | None
    matched: CommonImages
    effects: Sequence[Effect]
    left_out: Mapping[str, str] = field(default_factory=dict)
    cautions: Sequence[str] = ()
    reference: str = ""
    folders: Mapping[str, RunFolder] = field(default_factory=dict)
    votes: Sequence[Vote] = ()

    @property
    def runs(self) -> list[RunResult]:
        """The variants' runs."""
        return [variant.run for variant in self.variants]

    @property
    def has_truth(self) -> bool:
        """Whether any variant has the metric."""
        return any(not math.isnan(variant.metrics[self.metric]) for variant in self.variants)

    @cached_property
    def preferences(self) -> list[tuple[Variant, BradleyTerryScore, WinRate]]:
        """Each variant's standing among the others and against the baseline; [] without votes."""
        ids = {variant.run.name: variant.run_id for variant in self.variants}
        if not self.votes:
            return []
        strengths = compute_bradley_terry(self.votes, list(ids.values()))
        rates = [
            compute_win_rate(self.votes, run_id, ids[self.baseline]) for run_id in ids.values()
        ]
        return list(zip(self.variants, strengths, rates, strict=True))

    @property
    def self_agreement(self) -> SelfAgreement:
        """The share of repeated pairs that were judged as before."""
        return compute_self_agreement(self.votes)

    @cached_property
    def by_category(self) -> pd.DataFrame:
        """The change of the metric against the baseline: a row a category, a column a variant.

        The categories that differ most come first; `images` is how many it has. Each change is
        the mean over the images that both have scored.
        """
        table = collect_scores(self.runs, self.metric)
        changes = table.drop(columns=self.baseline).sub(table[self.baseline], axis=0)
        rows = self.runs[0].rows.set_index("path")
        categories = rows["category"].reindex(changes.index)
        differences = changes.groupby(categories).mean().dropna(how="all")
        order = differences.abs().max(axis=1).sort_values(ascending=False, kind="stable").index
        differences.insert(0, "images", categories.value_counts())
        return differences.loc[order]


def compare_variants(
    matched: CommonImages, baseline: str, metric: str = "iou", cluster: str | None = None
) -> Comparison:
    """Compare each run with one of them, by one metric on the same images.

    Args:
        matched: The runs on the images that all have; `run_id` is in their summaries.
        baseline: The name of one of the runs.
        metric: One of METRICS, or of MATTING_METRICS where the truth is soft.
        cluster: "category": images of one are resampled together; None: each image alone.
    """
    runs = matched.runs
    table = collect_scores(runs, metric)
    categories = dict(zip(runs[0].rows["path"], runs[0].rows["category"], strict=True))
    clusters = [categories[path] for path in table.index] if cluster else None
    has_truth = bool(table.notna().any(axis=None))
    soft = [key for key in MATTING_METRICS if any(key in run.rows for run in runs)]
    keys = list(dict.fromkeys([*METRICS, *soft, metric]))
    means = [_compute_means(run, keys) for run in runs]
    seconds = [_compute_seconds(run) for run in runs]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    front = find_pareto_front(
        [(t, sign * mean[metric]) for t, mean in zip(seconds, means, strict=True)]
    )
    variants = []
    for place, run in enumerate(runs):
        verdict = None
        if has_truth and run.name != baseline:
            change = compute_paired_change(
                table[baseline].to_numpy(), table[run.name].to_numpy(), clusters
            )
            verdict = judge_change(change, metric)
        checks = _compute_means(run, CHECKS, "check.")
        variants.append(Variant(run, means[place], checks, seconds[place], front[place], verdict))
    setting_effects = measure_effects(runs, metric, categories if cluster else None)
    return Comparison(variants, baseline, metric, cluster, matched, setting_effects)


def _compute_means(run: RunResult, keys: Sequence[str], prefix: str = "") -> dict[str, float]:
    return {key: float(get_column(run.rows, f"{prefix}{key}").mean()) for key in keys}


def _compute_seconds(run: RunResult) -> float:
    speed = run.summary["images_per_s"]
    return 1 / speed if speed else math.nan
