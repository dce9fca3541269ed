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
from bgexp.report import tables as numbers
from bgexp.report.finding import counted
from bgexp.report.labels import display_name, settings_lines
from bgexp.report.render import Cell, Table, change, figure, render_page, sections
from bgexp.sweep import tables as comparison
from bgexp.sweep.effects import SCORES, WARNINGS, swept
from bgexp.sweep.page import variant_panels
from bgexp.system.provenance import bgexp_state

MOST_LETTERS = 64  # of a name in the forest plot, which would run out of the page
_NOTHING: Mapping[str, Any] = {}


def render_compare(
    compared: Comparison,
    settings: Mapping[str, Any],
    pictures: Mapping[str, Mapping[str, NDArray[np.uint8]]] = _NOTHING,
    when: datetime | None = None,
    pages: Mapping[str, str] = _NOTHING,
    links: Mapping[str, str] = _NOTHING,
) -> bytes:
    """The page of a comparison, one HTML file that asks for nothing outside it.

    Args:
        compared: What is compared.
        settings: Of the command as nested dicts.
        pictures: For each image (path) its small pictures, HxWx3 uint8 RGB: "original", and under
            the name of each variant its cut-out.
        when: When it was made.
        pages: By a variant's name, its own page's path relative to this one.
        links: Files beside the page.
    """
    findings = compare_findings(compared)
    anchors = {path: f"image-{n}" for n, path in enumerate(pictures, 1)}
    jobs = compared.jobs
    content = {
        "has_truth": compared.has_truth,
        "baseline": compared.baseline,
        "metric": display_name(compared.metric),
        "lower": compared.metric in LOWER_IS_BETTER,
        "cluster": compared.cluster,
        "variants": _variants(compared, pages),
        "paired": _paired(compared),
        "forest": _forest(compared),
        "tradeoff": charts.tradeoff(_dots(compared)),
        "heat": heat_map(compared),
        "effects": [comparison.effect_part(effect) for effect in compared.effects],
        "agreement": _agreement(compared),
        "reference": compared.reference,
        "win_rates": _win_rates(compared),
        "steadiness": _steadiness(compared),
        "pictures": [
            variant_panels(path, anchors[path], cutouts, jobs) for path, cutouts in pictures.items()
        ],
    }
    return render_page(
        "compare.html",
        kind="bgexp compare",
        title=f"{counted(len(jobs), 'run')} on {counted(compared.matched.n, 'image')}",
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
    found = [*overview.started(when)]
    data = compared.jobs[0].summary.get("dataset") or {}
    count = counted(compared.matched.n, "image")
    found.append(overview.Fact("Dataset", str(data.get("name", "")), f"{count} compared"))
    found.append(overview.Fact("Baseline", compared.baseline))
    if compared.has_truth:
        alone = "each image by itself"
        kind = f"{compared.cluster} resampled whole" if compared.cluster else alone
        found.append(overview.Fact("Compared by", display_name(compared.metric), kind))
    return found


def _variants(compared: Comparison, pages: Mapping[str, str]) -> Table:
    keys: Sequence[str] = tuple(dict.fromkeys((compared.metric, *SCORES)))
    keys = keys if compared.has_truth else tuple(key.removeprefix("check.") for key in WARNINGS)
    varied = swept([job.overrides for job in compared.jobs])
    rows = []
    for place, variant in enumerate(compared.variants):
        found = variant.metrics if compared.has_truth else variant.checks
        first = variant.job.name == compared.baseline
        rows.append(
            [
                Cell(str(place), place, link=pages.get(variant.job.name, ""), strong=first),
                *(Cell(values[place], strong=first) for values in varied.values()),
                Cell(_standing(variant, compared), strong=first),
                *(figure(found[key], bar=key == "iou") for key in keys),
                figure(variant.seconds, 3),
                figure(variant.failed, 0),
                Cell(variant.run_id[:8]),
            ]
        )
    own = [key.rpartition(".")[2] for key in varied]
    columns = ("", *own, "standing", *map(display_name, keys), "seconds an image", "failed", "run")
    return Table("Runs", columns, rows, "compare.json")


def _standing(variant: Variant, compared: Comparison) -> str:
    if variant.job.name == compared.baseline:
        return "baseline"
    return variant.against.verdict if variant.against else ""


def _paired(compared: Comparison) -> Table | None:
    rows = []
    for place, variant in enumerate(compared.variants):
        if (against := variant.against) is not None:
            found = against.change
            rows.append(
                [
                    Cell(str(place), place),
                    Cell(variant.job.name),
                    change(found.change, strong=against.verdict != "undecided"),
                    Cell(numbers.interval({"low": found.low, "high": found.high})),
                    figure(against.won, 0),
                    figure(against.lost, 0),
                    figure(found.n - against.won - against.lost, 0),
                    Cell(against.told, strong=against.verdict != "undecided"),
                ]
            )
    columns = ("", "variant", "change", "95 % interval", "won", "lost", "equal", "verdict")
    return Table("Against the baseline", columns, rows, "compare.json") if rows else None


def _forest(compared: Comparison) -> Forest:
    found = []
    for place, variant in enumerate(compared.variants):
        if (against := variant.against) is not None:
            one = against.change
            bounds = numbers.interval({"low": one.low, "high": one.high})
            label = f"{variant.job.name}: {one.change:+.3f}, 95 % interval {bounds}"
            kind = "" if against.verdict == "undecided" else against.verdict
            name = f"{place} {variant.job.name}"
            name = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}\u2026"
            found.append(Interval(name, one.change, one.low, one.high, kind, label))
    return forest(found)


def _dots(compared: Comparison) -> list[charts.Dot]:
    return [
        charts.Dot(
            variant.job.name,
            str(place),
            variant.seconds,
            variant.metrics[compared.metric],
            "best" if variant.on_front else "",
            variant.on_front,
        )
        for place, variant in enumerate(compared.variants)
    ]


def _agreement(compared: Comparison) -> Table | None:
    rows = []
    for place, variant in enumerate(compared.variants):
        if found := variant.agreement:
            means = [figure(one.mean) for one in found.values()]
            counts = figure(found["iou"].n_scored, 0), figure(found["iou"].n_undefined, 0)
            rows.append([Cell(str(place), place), Cell(variant.job.name), *means, *counts])
    kinds = ("agreement.iou", "agreement.boundary_iou", "agreement.dice")
    columns = ("", "variant", *kinds, "images", "both empty")
    return Table("Agreement with the reference", columns, rows, "compare.json") if rows else None


def _win_rates(compared: Comparison) -> Table | None:
    rows = []
    for place, (variant, strength, rate) in enumerate(compared.preferences):
        base = variant.job.name == compared.baseline
        told = [Cell("baseline"), Cell(""), Cell("")] if base else _against_by_eye(rate)
        rows.append(
            [
                Cell(str(place), place),
                Cell(variant.job.name),
                _percent(strength.rate),
                Cell(_range(strength.low, strength.high)),
                figure(strength.n, 0),
                *told,
            ]
        )
    own = ("", "variant", "preferred", "95 % interval", "votes")
    columns = (*own, "to the baseline", "95 % interval", "verdict")
    return Table("Win rates", columns, rows, "compare.json") if rows else None


def _against_by_eye(rate: WinRate) -> list[Cell]:
    said = ("preferred" if rate.rate > 0.5 else "not preferred") if rate.decided else "undecided"
    if not rate.decided and rate.more_votes:
        said += f" (about {counted(rate.more_votes, 'more vote')} would decide)"
    shares = [_percent(rate.rate), Cell(_range(rate.low, rate.high))]
    return [*shares, Cell(said if rate.n else "no vote", strong=rate.decided)]


def _percent(share: float) -> Cell:
    return Cell("\u2013" if math.isnan(share) else f"{share:.0%}", share)


def _range(low: float, high: float) -> str:
    return "\u2013" if math.isnan(low) else f"{low:.0%} to {high:.0%}"


def _steadiness(compared: Comparison) -> str:
    found = compared.steadiness
    if not found.n:
        return "No repeated pair was judged: how steady the judges are is not known."
    return f"Of {counted(found.n, 'repeated pair')} {found.n_alike:,} were judged alike."


def _places(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    named_parts = (
        ("paired", "Against the baseline", "paired"),
        ("tradeoff", "Quality against time", "tradeoff"),
        ("categories", "Categories", "heat"),
        ("effects", "Settings", "effects"),
        ("votes", "Votes", "win_rates"),
        ("agreement", "Agreement", "agreement"),
        ("images", "Images", "pictures"),
    )
    there = {**content, "tradeoff": content["tradeoff"].points}
    return [
        ("findings", "Findings"),
        ("runs", "Runs"),
        *sections(there, named_parts),
        ("settings", "How it was made"),
    ]
