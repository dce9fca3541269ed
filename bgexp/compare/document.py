"""A comparison as one JSON document: compare.json, and what --json prints."""

from dataclasses import asdict
from typing import Any

from bgexp.compare.comparison import Comparison, Variant
from bgexp.compare.verdict import Verdict
from bgexp.sweep.effects import Effect, disagreement
from bgexp.system.provenance import SCHEMA_VERSION, bgexp_state

MOST_APART = 100  # images on which the runs disagree most


def as_document(comparison: Comparison) -> dict[str, Any]:
    """What docs/choosing.md describes; undefined numbers are NaN, which JSON gets as null."""
    matched = comparison.matched
    ids = {variant.job.name: variant.run_id for variant in comparison.variants}
    table, apart = comparison.by_category, disagreement(comparison.jobs)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "compare",
        "bgexp": bgexp_state(),
        "metric": comparison.metric,
        "cluster": comparison.cluster,
        "baseline": ids[comparison.baseline],
        "reference": comparison.reference or None,
        "has_truth": comparison.has_truth,
        "images": {
            "compared": matched.n,
            "changed": matched.n_changed,
            "of": {ids[name]: n for name, n in matched.had.items()},
        },
        "left_out": dict(comparison.left_out),
        "cautions": list(comparison.cautions),
        "runs": [_run(variant, comparison) for variant in comparison.variants],
        "settings": [_effect(effect) for effect in comparison.effects],
        "categories": {
            str(name): {
                "images": int(row["images"]),
                "change": {ids[str(key)]: float(row[key]) for key in table.columns[1:]},
            }
            for name, row in table.iterrows()
        },
        "win_rates": _win_rates(comparison),
        "disagreement": {str(k): float(v) for k, v in apart.head(MOST_APART).items()},
    }


def _run(variant: Variant, comparison: Comparison) -> dict[str, Any]:
    return {
        "run_id": variant.run_id,
        "name": variant.job.name,
        "folder": str(comparison.folders.get(variant.job.name, "")),
        "settings": dict(one.partition("=")[::2] for one in variant.job.overrides),
        "counts": dict(variant.job.summary["counts"]),
        "seconds_per_image": variant.seconds,
        "on_front": variant.on_front,
        "metrics": dict(variant.metrics) if comparison.has_truth else {},
        "checks": dict(variant.checks),
        "against_baseline": _against(variant.against),
        "agreement": {key: asdict(found) for key, found in variant.agreement.items()},
    }


def _against(against: Verdict | None) -> dict[str, Any] | None:
    if against is None:
        return None
    change = against.change
    return {
        "n": change.n,
        "before": change.before,
        "after": change.after,
        "change": change.change,
        "low": change.low,
        "high": change.high,
        "won": against.won,
        "lost": against.lost,
        "tied": change.n - against.won - against.lost,
        "verdict": against.verdict,
        "more_images": against.more,
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "key": effect.key,
        "values": effect.values.to_dict("records"),
        "worst": effect.worst,
        "best": effect.best,
        "change": asdict(effect.change),
        "clear": effect.clear,
    }


def _win_rates(comparison: Comparison) -> dict[str, Any] | None:
    if not comparison.votes:
        return None
    return {
        "votes": len(comparison.votes),
        "steadiness": asdict(comparison.steadiness),
        "runs": [
            {
                **asdict(strength),
                "against_baseline": None
                if variant.job.name == comparison.baseline
                else {**asdict(rate), "decided": rate.decided, "more_votes": rate.more_votes},
            }
            for variant, strength, rate in comparison.preferences
        ],
    }
