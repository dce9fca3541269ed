"""The page of a comparison of runs."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgexp.compare.comparison import Comparison, Variant
from bgexp.compare.findings import compare_findings
from bgexp.compare.forest_plot import Forest, Interval, forest
from bgexp.compare.heat_map import heat_map
from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.metrics.win_rate import WinRate
from bgexp.report import charts, overview
from bgexp.report.labels import display_name, settings_lines
from bgexp.report.render import Cell, Table, change, figure, render_page, sections
from bgexp.report.tables import interval
from bgexp.report.wording import counted
from bgexp.sweep import tables as comparison
from bgexp.sweep.effects import SCORES, WARNINGS, varied_settings
from bgexp.sweep.page import variant_panels
from bgexp.system.provenance import bgexp_state

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
    findings = compare_findings(compared)
    anchors = {path: f"image-{n}" for n, path in enumerate(pictures, 1)}
    runs = compared.runs
    content = {
        "has_truth": compared.has_truth,
        "baseline": compared.baseline,
        "metric": display_name(compared.metric),
        "lower": compared.metric in LOWER_IS_BETTER,
        "cluster": compared.cluster,
        "variants": _variants_table(compared, pages),
        "paired": _paired_table(compared),
        "forest": _draw_forest(compared),
        "tradeoff": charts.tradeoff(_dots(compared)),
        "heat": heat_map(compared),
        "effects": [comparison.effect_part(effect) for effect in compared.effects],
        "agreement": _agreement_table(compared),
        "reference": compared.reference,
        "win_rates": _win_rates_table(compared),
        "steadiness": _describe_steadiness(compared),
        "pictures": [
            variant_panels(path, anchors[path], cutouts, runs) for path, cutouts in pictures.items()
        ],
    }
    return render_page(
        "compare.html",
        kind="bgexp compare",
        title=f"{counted(len(runs), 'run')} on {counted(compared.matched.n, 'image')}",
        banners=[],
        facts=_facts(compared, when),
        places=_places(content),
        findings=findings,
        anchors={path: anchors.get(path, "") for f in findings for path in f.paths[:6]},
        settings=list(settings_lines(settings)),
        links=links,
        footer=overview.footer({"bgexp": bgexp_state()}),
        **content,
    )


def _facts(compared: Comparison, when: datetime | None) -> list[overview.Fact]:
    facts = [*overview.started(when)]
    data = compared.runs[0].summary.get("dataset") or {}
    count = counted(compared.matched.n, "image")
    facts.append(overview.Fact("Dataset", str(data.get("name", "")), f"{count} compared"))
    facts.append(overview.Fact("Baseline", compared.baseline))
    if compared.has_truth:
        unit = "each image by itself"
        kind = f"{compared.cluster} resampled whole" if compared.cluster else unit
        facts.append(overview.Fact("Compared by", display_name(compared.metric), kind))
    return facts


def _variants_table(compared: Comparison, pages: Mapping[str, str]) -> Table:
    keys: Sequence[str] = tuple(dict.fromkeys((compared.metric, *SCORES)))
    keys = keys if compared.has_truth else tuple(key.removeprefix("check.") for key in WARNINGS)
    varied = varied_settings([run.overrides for run in compared.runs])
    rows = []
    for place, variant in enumerate(compared.variants):
        means = variant.metrics if compared.has_truth else variant.checks
        is_baseline = variant.run.name == compared.baseline
        rows.append(
            [
                Cell(str(place), place, link=pages.get(variant.run.name, ""), strong=is_baseline),
                *(Cell(values[place], strong=is_baseline) for values in varied.values()),
                Cell(_standing(variant, compared), strong=is_baseline),
                *(figure(means[key], bar=key == "iou") for key in keys),
                figure(variant.seconds, 3),
                figure(variant.failed, 0),
                Cell(variant.run_id[:8]),
            ]
        )
    names = [key.rpartition(".")[2] for key in varied]
    names += ["standing", *map(display_name, keys)]
    columns = ("", *names, "seconds an image", "failed", "run")
    return Table("Runs", columns, rows, "compare.json")


def _standing(variant: Variant, compared: Comparison) -> str:
    if variant.run.name == compared.baseline:
        return "baseline"
    return variant.verdict.outcome if variant.verdict else ""


def _paired_table(compared: Comparison) -> Table | None:
    rows = []
    for place, variant in enumerate(compared.variants):
        if (verdict := variant.verdict) is not None:
            paired = verdict.change
            rows.append(
                [
                    Cell(str(place), place),
                    Cell(variant.run.name),
                    change(paired.change, strong=verdict.outcome != "undecided"),
                    Cell(interval({"low": paired.low, "high": paired.high})),
                    figure(verdict.won, 0),
                    figure(verdict.lost, 0),
                    figure(paired.n - verdict.won - verdict.lost, 0),
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
            bounds = interval({"low": change.low, "high": change.high})
            label = f"{variant.run.name}: {change.change:+.3f}, 95 % interval {bounds}"
            kind = "" if verdict.outcome == "undecided" else verdict.outcome
            name = f"{place} {variant.run.name}"
            name = name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}\u2026"
            intervals.append(Interval(name, change.change, change.low, change.high, kind, label))
    return forest(intervals)


def _dots(compared: Comparison) -> list[charts.Dot]:
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


def _agreement_table(compared: Comparison) -> Table | None:
    rows = []
    for place, variant in enumerate(compared.variants):
        if agreement := variant.agreement:
            means = [figure(aggregate.mean) for aggregate in agreement.values()]
            counts = figure(agreement["iou"].n_scored, 0), figure(agreement["iou"].n_undefined, 0)
            rows.append([Cell(str(place), place), Cell(variant.run.name), *means, *counts])
    kinds = ("agreement.iou", "agreement.boundary_iou", "agreement.dice")
    columns = ("", "variant", *kinds, "images", "both empty")
    return Table("Agreement with the reference", columns, rows, "compare.json") if rows else None


def _win_rates_table(compared: Comparison) -> Table | None:
    rows = []
    for place, (variant, strength, rate) in enumerate(compared.preferences):
        is_baseline = variant.run.name == compared.baseline
        cells = [Cell("baseline"), Cell(""), Cell("")] if is_baseline else _vote_cells(rate)
        rows.append(
            [
                Cell(str(place), place),
                Cell(variant.run.name),
                _percent_cell(strength.rate),
                Cell(_format_range(strength.low, strength.high)),
                figure(strength.n, 0),
                *cells,
            ]
        )
    overall = ("", "variant", "preferred", "95 % interval", "votes")
    columns = (*overall, "to the baseline", "95 % interval", "verdict")
    return Table("Win rates", columns, rows, "compare.json") if rows else None


def _vote_cells(rate: WinRate) -> list[Cell]:
    outcome = ("preferred" if rate.rate > 0.5 else "not preferred") if rate.decided else "undecided"
    if not rate.decided and rate.more_votes:
        outcome += f" (about {counted(rate.more_votes, 'more vote')} would decide)"
    shares = [_percent_cell(rate.rate), Cell(_format_range(rate.low, rate.high))]
    return [*shares, Cell(outcome if rate.n else "no vote", strong=rate.decided)]


def _percent_cell(share: float) -> Cell:
    return Cell("\u2013" if math.isnan(share) else f"{share:.0%}", share)


def _format_range(low: float, high: float) -> str:
    return "\u2013" if math.isnan(low) else f"{low:.0%} to {high:.0%}"


def _describe_steadiness(compared: Comparison) -> str:
    agreement = compared.steadiness
    if not agreement.n:
        return "No repeated pair was judged: how steady the judges are is not known."
    return f"Of {counted(agreement.n, 'repeated pair')} {agreement.n_alike:,} were judged alike."


def _places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
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
        *sections(present, parts),
        ("settings", "How it was made"),
    ]
