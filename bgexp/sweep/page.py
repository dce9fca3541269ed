"""The page of a sweep."""

import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgexp.metrics.pareto import find_pareto_front
from bgexp.report import charts, overview
from bgexp.report.pictures import make_panel
from bgexp.report.render import format_number, render_page
from bgexp.report.threshold_chart import SETTING as MASK_THRESHOLD
from bgexp.report.threshold_chart import (
    describe_thresholds,
    draw_threshold_ious,
    draw_threshold_scores,
    has_thresholds,
)
from bgexp.sweep import tables as comparison
from bgexp.sweep.effects import (
    collect_scores,
    compute_mean_score,
    find_varied_settings,
    measure_disagreement,
    measure_effects,
    rank_jobs,
)
from bgexp.sweep.findings import find_sweep_findings
from bgexp.sweep.overview_chart import draw_overview
from bgexp.sweep.run_result import RunResult

MAX_VARIANTS = 6
_EMPTY: Mapping[str, Any] = {}


def choose_disagreeing(jobs: Sequence[RunResult], count: int) -> list[str]:
    """Return the images (paths) on which the jobs disagree most, the largest range first."""
    ranges = measure_disagreement(jobs)
    return list(ranges[ranges > 0].index[:count])


def choose_variants(jobs: Sequence[RunResult], count: int = MAX_VARIANTS) -> list[RunResult]:
    """Choose the jobs whose cut-outs are shown: best, worst and some between, in their order.

    Without truth they are evenly chosen from all that have results.
    """
    order = rank_jobs(jobs) or [job for job in jobs if len(job.rows)]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    names = {order[place].name for place in places}
    return [job for job in jobs if job.name in names]


def render_sweep(
    title: str,
    jobs: Sequence[RunResult],
    pictures: Mapping[str, Mapping[str, NDArray[np.uint8]]] = _EMPTY,
    when: datetime | None = None,
    links: Mapping[str, str] = _EMPTY,
    settings: Mapping[str, Any] = _EMPTY,
) -> bytes:
    """Render the page of a sweep, one HTML file that loads nothing from outside.

    Args:
        title: The name of the sweep.
        jobs: All jobs, those that broke too.
        pictures: For each image (path) of `choose_disagreeing` its small pictures, HxWx3 uint8
            RGB: "original", and under the name of each job of `choose_variants` its cut-out.
        when: When the sweep began.
        links: Files beside the page: the text of each link and its path relative to the page.
        settings: The settings of one job as nested dicts.
    """
    findings, ranked = find_sweep_findings(jobs), rank_jobs(jobs)
    parent = _find_first_summary(jobs, "parent_run_id").get("parent_run_id")
    anchors = {path: f"image-{n}" for n, path in enumerate(pictures, 1)}
    targets = [f"job-{place}" for place in range(len(jobs))]
    ranks, ranks_sentence = comparison.tabulate_ranks(ranked)
    content = {
        "has_truth": bool(ranked),
        "jobs": comparison.tabulate_jobs(jobs, ranked, targets),
        "shared": _format_shared_overrides(jobs),
        "effects": [comparison.describe_effect(effect) for effect in measure_effects(jobs)],
        "parallel": draw_overview(jobs, ranked, targets),
        "thresholds": _describe_thresholds(ranked, settings),
        "tradeoff": charts.draw_tradeoff(_build_dots(jobs, ranked, targets)),
        "refinement": comparison.tabulate_refinement(jobs),
        "ranks": ranks,
        "ranks_sentence": ranks_sentence,
        "pictures": [
            make_variant_panels(path, anchors[path], cutouts, jobs)
            for path, cutouts in pictures.items()
        ],
    }
    return render_page(
        "sweep.html",
        kind="bgexp run, a sweep",
        title=title,
        banners=[],
        facts=_build_facts(jobs, when),
        places=_list_places(content),
        findings=findings,
        anchors={path: anchors.get(path, "") for f in findings for path in f.paths[:6]},
        links=links,
        footer=overview.format_footer(_find_first_summary(jobs, "bgexp")),
        tracked=overview.format_run_address(parent, settings),
        **content,
    )


def _find_first_summary(jobs: Sequence[RunResult], key: str) -> Mapping[str, Any]:
    """Return the first summary that has a key, for what all jobs share."""
    return next((job.summary for job in jobs if job.summary.get(key)), {})


def _build_facts(jobs: Sequence[RunResult], when: datetime | None) -> list[overview.Fact]:
    finished = sum(job.summary.get("status") == "finished" for job in jobs)
    tone = "good" if finished == len(jobs) else "problem"
    facts = [overview.Fact("Status", f"{finished} of {len(jobs)} jobs finished", tone=tone)]
    facts += overview.describe_start(when)
    facts += overview.describe_data_and_device(_find_first_summary(jobs, "dataset"))
    varied = find_varied_settings([job.overrides for job in jobs])
    return facts + [
        overview.Fact(key, ", ".join(value for value in dict.fromkeys(values) if value), "swept")
        for key, values in varied.items()
    ]


def _list_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    places = (
        ("overview", "Settings and scores", content["parallel"]),
        ("effects", "What each setting does", content["effects"]),
        ("thresholds", "Mask threshold", content["thresholds"]),
        ("tradeoff", "Quality against time", content["tradeoff"].points),
        ("refinement", "Refinement", content["refinement"]),
        ("checks", "Trust in checks", content["ranks"]),
        ("images", "Images", content["pictures"]),
    )
    present = [(place, name) for place, name, content_part in places if content_part]
    return [("findings", "Findings"), ("jobs", "Jobs"), *present]


def _format_shared_overrides(jobs: Sequence[RunResult]) -> str:
    """Return the overrides that all jobs have, as the command line takes them."""
    overrides = [list(job.overrides) for job in jobs]
    return shlex.join(o for o in (overrides or [[]])[0] if all(o in job for job in overrides))


def _build_dots(
    jobs: Sequence[RunResult], ranked: Sequence[RunResult], targets: Sequence[str]
) -> list[charts.Dot]:
    """Return the dots of the jobs that have a score and a speed."""
    speeds = [job.summary.get("images_per_s") or math.nan for job in jobs]
    points = [(1 / v, compute_mean_score(job)) for v, job in zip(speeds, jobs, strict=True)]
    front = find_pareto_front(points)
    return [
        charts.Dot(
            job.name,
            str(place),
            *points[place],
            "best" if job in ranked[:1] else "front" if front[place] else "",
            front[place],
            targets[place],
        )
        for place, job in enumerate(jobs)
    ]


def _describe_thresholds(
    ranked: Sequence[RunResult], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the scores over the mask threshold: of the best job, and the IoU of all."""
    curves = [job.summary.get("threshold_curve") or {} for job in ranked]
    if not curves or not has_thresholds(curves[0]):
        return None
    # Jobs that differ in what comes later have the same soft masks.
    different = list({tuple(curve["iou"]): curve for curve in curves if curve}.values())
    given = dict(o.partition("=")[::2] for o in ranked[0].overrides).get(MASK_THRESHOLD)
    combine = settings.get("combine") or {}
    threshold = combine.get("mask_threshold") if given is None else float(given)
    return {
        "sentence": describe_thresholds(curves[0], threshold),
        "best": draw_threshold_scores(curves[0], threshold),
        "n": len(different),
        "all": draw_threshold_ious(different) if len(different) > 1 else None,
    }


def make_variant_panels(
    path: str, anchor: str, cutouts: Mapping[str, NDArray[np.uint8]], jobs: Sequence[RunResult]
) -> dict[str, Any]:
    """Return an image's pictures by several jobs, side by side, each with its score."""
    ious = collect_scores(jobs).reindex([path]).iloc[0].dropna().to_dict()
    labels = {name: f"IoU {format_number(value)}" for name, value in ious.items()}
    low, high = min(ious.values(), default=0), max(ious.values(), default=0)
    return {
        "path": path,
        "anchor": anchor,
        "remark": f"IoU {format_number(low)} to {format_number(high)}" if ious else "",
        "panels": [
            make_panel(name, cutout, score=labels.get(name, "")) for name, cutout in cutouts.items()
        ],
    }
