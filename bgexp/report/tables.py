"""What a summary says in numbers: cards and tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bgexp.metrics.performance import LOWER_IS_BETTER
from bgexp.report.charts import Bar, stacked
from bgexp.report.evidence import FEWEST, trusted
from bgexp.report.finding import counted
from bgexp.report.labels import MEANINGS, named
from bgexp.report.render import Cell, Table, change, figure, number

_SCORES = ("iou", "boundary_iou", "foreground_recall", "background_leakage")
_CHECKS = ("coverage", "nothing_found", "confidence", "parts", "border_contact")
Numbers = Mapping[str, Any]
BINDS = 0.9  # of the time: a network that is so busy keeps the processes waiting


@dataclass(frozen=True)
class Card:
    """A number to remember, and what it needs to be understood."""

    name: str
    value: str
    lines: Sequence[str]
    unit: str = ""


def cards(summary: Numbers) -> list[Card]:
    """The numbers of a run that matter most: scores, or checks where there is no truth."""
    metrics, checks = summary.get("metrics") or {}, summary.get("checks") or {}
    if not metrics and not checks:
        return []
    counts = summary["counts"]
    found = [_score(key, metrics[key]) for key in _SCORES if metrics]
    found += [_check(key, checks[key]) for key in _CHECKS if not metrics]
    scored = (metrics or checks)["iou" if metrics else "coverage"]
    lines = (f"{scored['n_undefined']:,} undefined", f"{counts['failed']:,} failed")
    done = f"{scored['n_scored']:,}"
    return [
        *found,
        Card("Scored" if metrics else "Masks", done, lines, f"of {counts['total']:,}"),
        Card("Speed", number(summary.get("images_per_s"), 2), (), "images/s"),
    ]


def _score(key: str, found: Numbers) -> Card:
    tail = "p95" if key in LOWER_IS_BETTER else "p05"
    spread = f"median {number(found['median'])}, {tail} {number(found[tail])}"
    meaning = MEANINGS.get(key)
    return Card(named(key), number(found["mean"]), [spread, *([meaning] if meaning else [])])


def _check(key: str, found: Numbers) -> Card:
    spread = f"median {number(found['median'], 2)}, p05 {number(found['p05'], 2)}"
    lines = [MEANINGS[key]] if key == "nothing_found" else [spread, MEANINGS[key]]
    return Card(named(key), number(found["mean"], 2), lines)


def all_numbers(summary: Numbers) -> Table:
    """Every metric and check, a row each."""
    rows = [
        [
            Cell(named(key)),
            *(figure(found[name]) for name in ("mean", "median", "p05", "p95")),
            figure(found["n_scored"], 0),
            figure(found["n_undefined"], 0),
        ]
        for kind in ("metrics", "checks")
        for key, found in (summary.get(kind) or {}).items()
    ]
    rows += [
        [Cell(named(key)), figure(value), *[Cell("")] * 5]
        for key, value in (summary.get("mask_ap") or {}).items()
    ]
    columns = ("", "mean", "median", "p05", "p95", "scored", "undefined")
    return Table("All metrics and checks", columns, rows)


def categories(summary: Numbers) -> Table | None:
    """A row a category, the worst first; None where there is only one, or no result."""
    found = summary.get("categories") or {}
    if len(found) < 2 or not any(summary.get(kind) for kind in ("metrics", "checks")):
        return None
    kind, keys = ("metrics", _SCORES) if summary.get("metrics") else ("checks", _CHECKS)
    rows = []
    for name, group in found.items():
        means = [(group[kind].get(key) or {}).get("mean") for key in keys]
        cells = [figure(mean, bar=place == 0) for place, mean in enumerate(means)]
        counts = group["counts"]
        rows.append([Cell(name), *cells, figure(counts["total"], 0), figure(counts["failed"], 0)])
    rows.sort(key=lambda row: math.inf if math.isnan(row[1].sort or 0) else row[1].sort or 0)
    columns = ("category", *(named(key) for key in keys), "images", "failed")
    return Table("Mean scores by category", columns, rows, "summary.json", most=25)


def refinement(summary: Numbers) -> dict[str, Any] | None:
    """What refinement changed: two sentences and a table; None where it was off."""
    found = summary.get("refinement") or {}
    if not found:
        return None
    rows = [
        [
            Cell(named(key)),
            *(figure(found[key][name]) for name in ("before", "after")),
            change(found[key]["change"], strong=True),
            Cell(interval(found[key])),
            *(figure(found[key][name], 0) for name in ("n_better", "n_worse")),
        ]
        for key in ("iou", "boundary_iou")
        if found.get(key)
    ]
    columns = ("", "before", "after", "change", "95 % interval", "better", "worse")
    counts = [f"{name} {found.get(f'n_{name}', 0):,}" for name in ("applied", "skipped", "refused")]
    return {
        "sentence": _refinement_sentence(found),
        "changes": Table("Change by refinement", columns, rows),
        "counts": f"Images: {', '.join(counts)}.",
    }


def interval(found: Numbers) -> str:
    """The interval of a change, "low to high"; a dash where there is none."""
    return " to ".join(dict.fromkeys(change(found.get(key)).text for key in ("low", "high")))


def _refinement_sentence(found: Numbers) -> str:
    cost = f"It adds {number(found.get('added_ms'), 0)} ms an image"
    share = found.get("added_share")
    if share is not None and not math.isnan(share):
        times = f"{share:.1f} times" if share >= 1 else f"{share:.0%} of"
        cost += f", {times} the time of all other stages"
    iou = found.get("iou") or {}
    if iou.get("change") is None:
        return f"{cost}. Without truth nothing tells whether it helps: look at the pictures."
    low, high = iou["low"], iou["high"]
    if iou["n"] < FEWEST:
        return f"{cost}. There are too few images to tell whether it helps."
    if low > 0:
        return f"Refinement helps: mean IoU rises by {iou['change']:.3f}. {cost}."
    if high < 0:
        return f"Refinement hurts: mean IoU falls by {-iou['change']:.3f}. {cost}."
    return f"Whether refinement helps is undecided: the interval contains 0. {cost}."


def ranks(summary: Numbers) -> tuple[Table | None, str]:
    """Which checks order the images as IoU does, as a table and a sentence."""
    found = summary.get("check_ranks") or {}
    rows, good = [], []
    for key, rank in found.items():
        rho, n = math.nan if rank["spearman"] is None else rank["spearman"], int(rank["n"])
        good += [named(key)] if trusted(rho, n) else []
        rows.append((-1.0 if math.isnan(rho) else abs(rho), key, rho, n))
    cells = [
        [Cell(named(key)), change(rho), figure(n, 0), verdict(rho, n)]
        for _, key, rho, n in sorted(rows, reverse=True)
    ]
    columns = ("check", "\u03c1 with IoU", "images", "use")
    table = Table("Rank correlation of the checks with IoU", columns, cells) if rows else None
    return table, trust_sentence(good)


def verdict(rho: float, n: int) -> Cell:
    """Whether a check may choose, in words."""
    if math.isnan(rho):
        return Cell("constant: not used for choosing")
    if trusted(rho, n):
        return Cell(f"may choose: {'higher' if rho > 0 else 'lower'} is better", strong=True)
    return Cell("not used for choosing")


def trust_sentence(good: Sequence[str]) -> str:
    """Which checks may be trusted."""
    if not good:
        return "No check may be trusted to choose here: none ranks surely enough as IoU does."
    return f"Trusted to choose here: {', '.join(good)}; no other check."


def timings(summary: Numbers) -> tuple[Table | None, list[Bar], str]:
    """The stages as a table, as a stacked bar, and a sentence."""
    found = summary.get("timings") or {}
    total = sum(stage["total_s"] for stage in found.values())
    if not total:
        return None, [], ""
    rows = [
        [
            Cell(name, swatch=f"s-{place % 6}"),
            Cell(f"{100 * stage['total_s'] / total:.1f} %", stage["total_s"] / total),
            *(figure(stage[key], 1) for key in ("mean_ms", "p50_ms", "p95_ms")),
            figure(stage["total_s"], 1),
        ]
        for place, (name, stage) in enumerate(found.items())
    ]
    most = max(found, key=lambda name: found[name]["total_s"])
    each = sum(stage["mean_ms"] for stage in found.values())
    done = counted(summary["counts"]["ok"], "image")
    share = found[most]["total_s"] / total
    sentence = f"{each:,.0f} ms an image over {done}; most of it ({share:.0%}) in {most}."
    columns = ("stage", "share", "mean ms", "median ms", "p95 ms", "total s")
    bars = stacked({name: stage["total_s"] for name, stage in found.items()})
    return Table("Time by stage", columns, rows), bars, sentence


def pace(summary: Numbers) -> tuple[str, str] | None:
    """How busy the network was that a batch's processes shared, and who set the pace."""
    if (network := summary["network"]) is None:
        return None
    busy = f"busy {network['busy']:.0%} of the time"
    if network["busy"] >= BINDS:
        return busy, f"it sets the pace: {network['images_per_s']:.1f} pictures/s at most"
    own = {name: stage["total_s"] for name, stage in summary["timings"].items() if name != "detect"}
    if not own:
        return busy, "nothing was done"
    most = max(own, key=lambda name: own[name])
    share = own[most] / (sum(own.values()) or 1)
    return busy, f"the processes set the pace: {share:.0%} of their work is {most}"
