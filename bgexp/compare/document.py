"""A comparison as one JSON document: compare.json, and what --json prints."""

from dataclasses import asdict
from typing import Any

from bgexp.compare.comparison import Comparison, Variant
from bgexp.compare.verdict import Verdict
from bgexp.sweep.effects import Effect, measure_disagreement
from bgexp.system.provenance import SCHEMA_VERSION, describe_bgexp

MAX_DISAGREEING = 100  # images on which the runs disagree most


def build_document(comparison: Comparison) -> dict[str, Any]:
    """Build what docs/choosing.md describes; undefined numbers are NaN, which JSON gets as null."""
    matched = comparison.matched
    ids = {variant.run.name: variant.run_id for variant in comparison.variants}
    table, ranges = comparison.by_category, measure_disagreement(comparison.runs)
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "compare",
        "bgexp": describe_bgexp(),
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
        "runs": [_describe_variant(variant, comparison) for variant in comparison.variants],
        "settings": [_describe_effect(effect) for effect in comparison.effects],
        "categories": {
            str(name): {
                "images": int(row["images"]),
                "change": {ids[str(key)]: float(row[key]) for key in table.columns[1:]},
            }
            for name, row in table.iterrows()
        },
        "win_rates": _describe_votes(comparison),
        "disagreement": {str(k): float(v) for k, v in ranges.head(MAX_DISAGREEING).items()},
    }


def _describe_variant(variant: Variant, comparison: Comparison) -> dict[str, Any]:
    folder = comparison.folders.get(variant.run.name)
    return {
        "run_id": variant.run_id,
        "name": variant.run.name,
        "folder": "" if folder is None else str(folder.path),
        "settings": dict(override.partition("=")[::2] for override in variant.run.overrides),
        "counts": dict(variant.run.summary["counts"]),
        "seconds_per_image": variant.seconds,
        "on_front": variant.on_front,
        "metrics": dict(variant.metrics) if comparison.has_truth else {},
        "checks": dict(variant.checks),
        "against_baseline": _describe_verdict(variant.verdict),
        "agreement": {key: asdict(aggregate) for key, aggregate in variant.agreement.items()},
    }


def _describe_verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    change = verdict.change
    return {
        "n": change.n,
        "before": change.before,
        "after": change.after,
        "change": change.change,
        "low": change.low,
        "high": change.high,
        "won": verdict.won,
        "lost": verdict.lost,
        "tied": change.n - verdict.won - verdict.lost,
        "verdict": verdict.outcome,
        "more_images": verdict.images_to_decide,
    }


def _describe_effect(effect: Effect) -> dict[str, Any]:
    return {
        "key": effect.key,
        "values": effect.values.to_dict("records"),
        "worst": effect.worst,
        "best": effect.best,
        "change": asdict(effect.change),
        "clear": effect.clear,
    }


def _describe_votes(comparison: Comparison) -> dict[str, Any] | None:
    if not comparison.votes:
        return None
    return {
        "votes": len(comparison.votes),
        "self_agreement": asdict(comparison.self_agreement),
        "runs": [
            {
                **asdict(strength),
                "against_baseline": None
                if variant.run.name == comparison.baseline
                else {**asdict(rate), "decided": rate.decided, "more_votes": rate.more_votes},
            }
            for variant, strength, rate in comparison.preferences
        ],
    }
