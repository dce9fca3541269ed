"""The page of a comparison of runs."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgexp.compare.comparison import Comparison, Variant
from bgexp.compare.findings import find_comparison_findings
from bgexp.compare.forest_plot import Forest, Interval, lay_out_forest
from bgexp.compare.heat_map import build_heat_map
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.metrics.win_rate import WinRate
from bgexp.report import charts, overview
from bgexp.report.labels import get_display_name, list_settings
from bgexp.report.render import (
    Cell,
    Table,
    list_sections,
    make_change_cell,
    make_number_cell,
    render_page,
)
from bgexp.report.tables import format_interval
from bgexp.report.wording import format_count
from bgexp.sweep import tables as comparison
from bgexp.sweep.effects import SCORES, WARNINGS, find_varied_settings
from bgexp.sweep.page import make_variant_panels
from bgexp.system.provenance import describe_bgexp

MAX_NAME_LENGTH = 64  # of a name in the forest plot, which would run out of the page
_EMPTY: Mapping[str, Any] = {}


def render_compare(
    compared: Comparison,
    settings: Mapping[str, Any],
    pictures: Mapping[str, Mapping[str, NDArray[np.uint8]]] = _EMPTY,
    when: datetime | None = None,
    pages: Mapping[str, str] = _EMPTY,
    links: Mapping[str, str] = _EMPTY,
) -> bytes:
    """Render the page of a comparison, one HTML file that loads nothing from outside.

    Args:
        compared: The comparison.
        settings: The command's settings as nested dicts.
        pictures: For each image (path) its small pictures, HxWx3 uint8 RGB: "original", and under
            the name of each variant its cut-out.
        when: When the page was made.
        pages: By a variant's name, the path of its page relative to this one.
        links: Files beside the page.
    """
    findings = find_comparison_findings(compared)
    anchors = {path: f"image-{n}" for n, path in enumerate(pictures, 1)}
    runs = compared.runs
    content = {
        "has_truth": compared.has_truth,
        "baseline": compared.baseline,
        "metric": get_display_name(compared.metric),
        "lower": compared.metric in LOWER_IS_BETTER,
        "cluster": compared.cluster,
        "variants": _tabulate_variants(compared, pages, settings),
        "paired": _tabulate_paired(compared),
        "forest": _draw_forest(compared),
        "tradeoff": charts.draw_tradeoff(_build_dots(compared)),
        "heat": build_heat_map(compared),
        "effects": [comparison.describe_effect(effect) for effect in compared.effects],
        "agreement": _tabulate_agreement(compared),
        "reference": compared.reference,
        "win_rates": _tabulate_win_rates(compared),
        "self_agreement": _describe_self_agreement(compared),
        "pictures": [
            make_variant_panels(path, anchors[path], cutouts, runs)
            for path, cutouts in pictures.items()
        ],
    }
    return render_page(
        "compare.html",
        kind="bgexp compare",
        title=f"{format_count(len(runs), 'run')} on {format_count(compared.matched.n, 'image')}",
        banners=[],
        facts=_build_facts(compared, when),
        places=_list_places(content),
        findings=findings,
        anchors={path: anchors.get(path, "") for f in findings for path in f.paths[:6]},
        settings=list(list_settings(settings)),
        links=links,
        footer=overview.format_footer({"bgexp": describe_bgexp()}),
        **content,
    )


def _build_facts(compared: Comparison, when: datetime | None) -> list[overview.Fact]:
    facts = [*overview.describe_start(when)]
    data = compared.runs[0].summary.get("dataset") or {}
    count = format_count(compared.matched.n, "image")
    facts.append(overview.Fact("Dataset", str(data.get("name", "")), f"{count} compared"))
    facts.append(overview.Fact("Baseline", compared.baseline))
    if compared.has_truth:
        unit = "each image by itself"
        kind = f"{compared.cluster} resampled whole" if compared.cluster else unit
        facts.append(overview.Fact("Compared by", get_display_name(compared.metric), kind))
    return facts


def _tabulate_variants(
    compared: Comparison, pages: Mapping[str, str], settings: Mapping[str, Any]
) -> Table:
    keys: Sequence[str] = tuple(dict.fromkeys((compared.metric, *SCORES)))
    keys = keys if compared.has_truth else tuple(key.removeprefix("check.") for key in WARNINGS)
    varied = find_varied_settings([run.overrides for run in compared.runs])
    rows = []
    for place, variant in enumerate(compared.variants):
        means = variant.metrics if compared.has_truth else variant.checks
        is_baseline = variant.run.name == compared.baseline
        rows.append(
            [
                Cell(str(place), place, link=pages.get(variant.run.name, ""), strong=is_baseline),
                *(
                    comparison.make_setting_cell(values[place], is_baseline)
                    for values in varied.values()
                ),
                Cell(_describe_standing(variant, compared), strong=is_baseline),
                *(make_number_cell(means[key], bar=key == "iou") for key in keys),
                make_number_cell(variant.seconds, 3),
                make_number_cell(variant.failed, 0),
                Cell(variant.run_id[:8], url=overview.format_run_address(variant.run_id, settings)),
            ]
        )
    names = [*map(comparison.name_setting, varied), "standing", *map(get_display_name, keys)]
    columns = ("", *names, "seconds an image", "failed", "run")
    return Table("Runs", columns, rows, "compare.json")


def _describe_standing(variant: Variant, compared: Comparison) -> str:
    if variant.run.name == compared.baseline:
        return "baseline"
    return variant.verdict.outcome if variant.verdict else ""


def _tabulate_paired(compared: Comparison) -> Table | None:
    rows = []
    for place, variant in enumerate(compared.variants):
        if (verdict := variant.verdict) is not None:
            paired = verdict.change
            rows.append(
                [
                    Cell(str(place), place),
                    Cell(variant.run.name),
                    make_change_cell(paired.change, strong=verdict.outcome != "undecided"),
                    Cell(format_interval({"low": paired.low, "high": paired.high})),
                    make_number_cell(verdict.won, 0),
                    make_number_cell(verdict.lost, 0),
                    make_number_cell(paired.n - verdict.won - verdict.lost, 0),
                    Cell(verdict.description, strong=verdict.outcome != "undecided"),
                ]
            )
    columns = ("", "variant", "change", "95 % interval", "won", "lost", "equal", "verdict")
    return Table("Against the baseline", columns, rows, "compare.json") if rows else None


def _draw_forest(compared: Comparison) -> Forest:
    intervals = []
    for place, variant in enumerate(compared.variants):
        if (verdict := variant.verdict) is not None:
            change = verdict.change
            bounds = format_interval({"low": change.low, "high": change.high})
            label = f"{variant.run.name}: {change.change:+.3f}, 95 % interval {bounds}"
            kind = "" if verdict.outcome == "undecided" else verdict.outcome
            name = f"{place} {variant.run.name}"
            name = name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}\u2026"
            intervals.append(Interval(name, change.change, change.low, change.high, kind, label))
    return lay_out_forest(intervals)


def _build_dots(compared: Comparison) -> list[charts.Dot]:
    return [
        charts.Dot(
            variant.run.name,
            str(place),
            variant.seconds,
            variant.metrics[compared.metric],
            "best" if variant.on_front else "",
            variant.on_front,
        )
        for place, variant in enumerate(compared.variants)
    ]


def _tabulate_agreement(compared: Comparison) -> Table | None:
    rows = []
    for place, variant in enumerate(compared.variants):
        if agreement := variant.agreement:
            means = [make_number_cell(aggregate.mean) for aggregate in agreement.values()]
            counts = (
                make_number_cell(agreement["iou"].n_scored, 0),
                make_number_cell(agreement["iou"].n_undefined, 0),
            )
            rows.append([Cell(str(place), place), Cell(variant.run.name), *means, *counts])
    kinds = ("agreement.iou", "agreement.boundary_iou", "agreement.dice")
    columns = ("", "variant", *kinds, "images", "both empty")
    return Table("Agreement with the reference", columns, rows, "compare.json") if rows else None


def _tabulate_win_rates(compared: Comparison) -> Table | None:
    rows = []
    for place, (variant, strength, rate) in enumerate(compared.preferences):
        is_baseline = variant.run.name == compared.baseline
        cells = [Cell("baseline"), Cell(""), Cell("")] if is_baseline else _format_votes(rate)
        rows.append(
            [
                Cell(str(place), place),
                Cell(variant.run.name),
                _format_percent(strength.rate),
                Cell(_format_range(strength.low, strength.high)),
                make_number_cell(strength.n, 0),
                *cells,
            ]
        )
    overall = ("", "variant", "preferred", "95 % interval", "votes")
    columns = (*overall, "to the baseline", "95 % interval", "verdict")
    return Table("Win rates", columns, rows, "compare.json") if rows else None


def _format_votes(rate: WinRate) -> list[Cell]:
    outcome = ("preferred" if rate.rate > 0.5 else "not preferred") if rate.decided else "undecided"
    if not rate.decided and rate.more_votes:
        outcome += f" (about {format_count(rate.more_votes, 'more vote')} would decide)"
    shares = [_format_percent(rate.rate), Cell(_format_range(rate.low, rate.high))]
    return [*shares, Cell(outcome if rate.n else "no vote", strong=rate.decided)]


def _format_percent(share: float) -> Cell:
    return Cell("\u2013" if math.isnan(share) else f"{share:.0%}", share)


def _format_range(low: float, high: float) -> str:
    return "\u2013" if math.isnan(low) else f"{low:.0%} to {high:.0%}"


def _describe_self_agreement(compared: Comparison) -> str:
    agreement = compared.self_agreement
    if not agreement.n:
        return "No repeated pair was judged: how steady the judges are is not known."
    return (
        f"Of {format_count(agreement.n, 'repeated pair')} {agreement.n_alike:,} were judged alike."
    )


def _list_places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts = (
        ("paired", "Against the baseline", "paired"),
        ("tradeoff", "Quality against time", "tradeoff"),
        ("categories", "Categories", "heat"),
        ("effects", "Settings", "effects"),
        ("votes", "Votes", "win_rates"),
        ("agreement", "Agreement", "agreement"),
        ("images", "Images", "pictures"),
    )
    present = {**content, "tradeoff": content["tradeoff"].points}
    return [
        ("findings", "Findings"),
        ("runs", "Runs"),
        *list_sections(present, parts),
        ("settings", "How it was made"),
    ]
