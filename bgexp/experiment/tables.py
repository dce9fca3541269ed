"""What a run's summary says in numbers: cards and tables of its page."""

import math
from typing import Any

from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.metrics.significance import MIN_IMAGES, is_trusted
from bgexp.report.labels import MEANINGS, get_display_name
from bgexp.report.render import Cell, Table, format_number, make_change_cell, make_number_cell
from bgexp.report.tables import Card, Numbers, describe_trust, format_interval, make_verdict_cell
from bgexp.tracking.run_folder import SUMMARY

_SCORES = ("iou", "boundary_iou", "foreground_recall", "background_leakage")
_CHECKS = ("coverage", "nothing_found", "confidence", "parts", "border_contact")


def build_cards(summary: Numbers) -> list[Card]:
    """Return the numbers of a run that matter most: scores, or checks where there is no truth."""
    metrics, checks = summary.get("metrics") or {}, summary.get("checks") or {}
    if not metrics and not checks:
        return []
    counts = summary["counts"]
    score_cards = [_score_card(key, metrics[key]) for key in _SCORES if metrics]
    score_cards += [_check_card(key, checks[key]) for key in _CHECKS if not metrics]
    stats = (metrics or checks)["iou" if metrics else "coverage"]
    lines = (f"{stats['n_undefined']:,} undefined", f"{counts['failed']:,} failed")
    n_scored = f"{stats['n_scored']:,}"
    return [
        *score_cards,
        Card("Scored" if metrics else "Masks", n_scored, lines, f"of {counts['total']:,}"),
        Card("Speed", format_number(summary.get("images_per_s"), 2), (), "images/s"),
    ]


def _score_card(key: str, stats: Numbers) -> Card:
    tail = "p95" if key in LOWER_IS_BETTER else "p05"
    spread = f"median {format_number(stats['median'])}, {tail} {format_number(stats[tail])}"
    meaning = MEANINGS.get(key)
    return Card(
        get_display_name(key),
        format_number(stats["mean"]),
        [spread, *([meaning] if meaning else [])],
    )


def _check_card(key: str, stats: Numbers) -> Card:
    spread = f"median {format_number(stats['median'], 2)}, p05 {format_number(stats['p05'], 2)}"
    lines = [MEANINGS[key]] if key == "nothing_found" else [spread, MEANINGS[key]]
    return Card(get_display_name(key), format_number(stats["mean"], 2), lines)


def tabulate_all(summary: Numbers) -> Table:
    """Tabulate every metric and check, a row each."""
    rows = [
        [
            Cell(get_display_name(key)),
            *(make_number_cell(stats[name]) for name in ("mean", "median", "p05", "p95")),
            make_number_cell(stats["n_scored"], 0),
            make_number_cell(stats["n_undefined"], 0),
        ]
        for kind in ("metrics", "checks")
        for key, stats in (summary.get(kind) or {}).items()
    ]
    rows += [
        [Cell(get_display_name(key)), make_number_cell(value), *[Cell("")] * 5]
        for key, value in (summary.get("mask_ap") or {}).items()
    ]
    columns = ("", "mean", "median", "p05", "p95", "scored", "undefined")
    return Table("All metrics and checks", columns, rows)


def tabulate_categories(summary: Numbers) -> Table | None:
    """Tabulate categories, the worst first; None where there is only one, or no result."""
    groups = summary.get("categories") or {}
    if len(groups) < 2 or not any(summary.get(kind) for kind in ("metrics", "checks")):
        return None
    kind, keys = ("metrics", _SCORES) if summary.get("metrics") else ("checks", _CHECKS)
    rows = []
    for name, group in groups.items():
        means = [(group[kind].get(key) or {}).get("mean") for key in keys]
        cells = [make_number_cell(mean, bar=place == 0) for place, mean in enumerate(means)]
        counts = group["counts"]
        rows.append(
            [
                Cell(name),
                *cells,
                make_number_cell(counts["total"], 0),
                make_number_cell(counts["failed"], 0),
            ]
        )
    rows.sort(key=lambda row: math.inf if math.isnan(row[1].sort or 0) else row[1].sort or 0)
    columns = ("category", *(get_display_name(key) for key in keys), "images", "failed")
    return Table("Mean scores by category", columns, rows, SUMMARY, most=25)


def describe_refinement(summary: Numbers) -> dict[str, Any] | None:
    """Return what refinement changed: two sentences and a table; None where it was off."""
    stats = summary.get("refinement") or {}
    if not stats:
        return None
    rows = [
        [
            Cell(get_display_name(key)),
            *(make_number_cell(stats[key][name]) for name in ("before", "after")),
            make_change_cell(stats[key]["change"], strong=True),
            Cell(format_interval(stats[key])),
            *(make_number_cell(stats[key][name], 0) for name in ("n_better", "n_worse")),
        ]
        for key in ("iou", "boundary_iou")
        if stats.get(key)
    ]
    columns = ("", "before", "after", "change", "95 % interval", "better", "worse")
    counts = [f"{name} {stats.get(f'n_{name}', 0):,}" for name in ("applied", "skipped", "refused")]
    return {
        "sentence": _describe_refinement_effect(stats),
        "changes": Table("Change by refinement", columns, rows),
        "counts": f"Images: {', '.join(counts)}.",
    }


def _describe_refinement_effect(stats: Numbers) -> str:
    cost = f"It adds {format_number(stats.get('added_ms'), 0)} ms an image"
    share = stats.get("added_share")
    if share is not None and not math.isnan(share):
        times = f"{share:.1f} times" if share >= 1 else f"{share:.0%} of"
        cost += f", {times} the time of all other stages"
    iou = stats.get("iou") or {}
    if iou.get("change") is None:
        return f"{cost}. Without truth nothing tells whether it helps: look at the pictures."
    low, high = iou["low"], iou["high"]
    if iou["n"] < MIN_IMAGES:
        return f"{cost}. There are too few images to tell whether it helps."
    if low > 0:
        return f"Refinement helps: mean IoU rises by {iou['change']:.3f}. {cost}."
    if high < 0:
        return f"Refinement hurts: mean IoU falls by {-iou['change']:.3f}. {cost}."
    return f"Whether refinement helps is undecided: the interval contains 0. {cost}."


def tabulate_ranks(summary: Numbers) -> tuple[Table | None, str]:
    """Return which checks order the images as IoU does, as a table and a sentence."""
    check_ranks = summary.get("check_ranks") or {}
    rows, trusted_names = [], []
    for key, rank in check_ranks.items():
        rho, n = math.nan if rank["spearman"] is None else rank["spearman"], int(rank["n"])
        trusted_names += [get_display_name(key)] if is_trusted(rho, n) else []
        rows.append((-1.0 if math.isnan(rho) else abs(rho), key, rho, n))
    cells = [
        [
            Cell(get_display_name(key)),
            make_change_cell(rho),
            make_number_cell(n, 0),
            make_verdict_cell(rho, n),
        ]
        for _, key, rho, n in sorted(rows, reverse=True)
    ]
    columns = ("check", "\u03c1 with IoU", "images", "use")
    table = Table("Rank correlation of the checks with IoU", columns, cells) if rows else None
    return table, describe_trust(trusted_names)
