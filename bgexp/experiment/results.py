"""What a run leaves: a row an image, a summary, and when a run counts as failed."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from bgexp.metrics.checks import CHECKS
from bgexp.metrics.performance import METRICS
from bgexp.system.provenance import SCHEMA_VERSION

UNREFINED = ("iou", "boundary_iou")  # metrics that are also taken before refinement
STAGES = ("load", "detect", "combine", "refine", "cutout", "encode", "write")

Status = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class ImageResult:
    """One image of a run: scores, or the reason why there are none.

    Attributes:
        path: Relative to the dataset, POSIX.
        status: ok, or failed with a reason of one line.
        metrics: By METRICS; empty without truth or result.
        checks: By CHECKS; empty without result.
        unrefined: By UNREFINED, of the mask before refinement; empty without truth or refinement.
        refined: "off", "applied", "skipped" or "refused", as in `refine.Refined`.
        fallback: Why refinement was skipped or refused; else empty.
        cached: Whether the detections came from the cache.
        timings_ms: By STAGES; of cached detections, the time when they were computed.
    """

    path: str
    category: str
    sha256: str
    status: Literal["ok", "failed"]
    reason: str = ""
    width: int = 0
    height: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
    unrefined: dict[str, float] = field(default_factory=dict)
    refined: str = "off"
    fallback: str = ""
    cached: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """Return the row as columns of a table: every key is there, undefined is NaN."""
        columns = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("metrics", "checks", "unrefined", "timings_ms")
        }
        columns |= {key: self.metrics.get(key, math.nan) for key in METRICS}
        columns |= {f"unrefined.{k}": self.unrefined.get(k, math.nan) for k in UNREFINED}
        columns |= {f"check.{key}": self.checks.get(key, math.nan) for key in CHECKS}
        return columns | {f"ms.{key}": self.timings_ms.get(key, math.nan) for key in STAGES}


@dataclass(frozen=True)
class Summary:
    """`summary.json`, a contract that other programs read; see docs/architecture.md."""

    command: str
    status: Status
    run_id: str
    parent_run_id: str | None
    reused_from: str | None
    identity: str
    bgexp: dict[str, Any]
    versions: dict[str, str]
    device: dict[str, str]
    weights: dict[str, str]
    dataset: dict[str, Any]
    counts: dict[str, int]
    metrics: dict[str, dict[str, float]]
    checks: dict[str, dict[str, float]]
    categories: dict[str, dict[str, Any]]
    refinement: dict[str, Any]
    check_ranks: dict[str, dict[str, float]]
    mask_ap: dict[str, float]
    detections: dict[str, int]
    timings: dict[str, dict[str, float]]
    workers: int
    images_per_s: float
    peak_rss_bytes: int
    error: str = ""
    schema_version: int = SCHEMA_VERSION

    def document(self) -> dict[str, Any]:
        """Return the content of the file, in its order."""
        fields = asdict(self)
        return {"schema_version": fields.pop("schema_version"), **fields}


def run_status(counts: dict[str, int], max_failed: float) -> Status:
    """Decide whether failed images fail the run; nothing else does."""
    if counts["skipped"]:
        return "interrupted"
    # Divided, not multiplied: 0.29 * 100 is below 29.
    return "failed" if counts["failed"] / max(1, counts["total"]) > max_failed else "finished"


def rows_table(rows: Sequence[ImageResult]) -> pd.DataFrame:
    """Return the rows as a table."""
    columns = ImageResult("", "", "", "ok").flat()  # a run that was interrupted at once has no row
    return pd.DataFrame([row.flat() for row in rows], columns=list(columns))


def numbers(summary: Summary) -> dict[str, float]:
    """Flatten a summary for a tracking store: `iou.mean`, `timings.refine.p95_ms` and so on."""
    flat = {f"{key}.{name}": v for key, m in summary.metrics.items() for name, v in m.items()}
    flat |= {f"checks.{k}.{name}": v for k, m in summary.checks.items() for name, v in m.items()}
    flat |= {f"timings.{k}.{name}": v for k, m in summary.timings.items() for name, v in m.items()}
    flat |= {f"counts.{key}": value for key, value in summary.counts.items()}
    for key in UNREFINED:
        change = summary.refinement.get(key, {})
        flat |= {f"refinement.{key}.{name}": value for name, value in change.items()}
    for key in ("n_applied", "n_skipped", "n_refused", "added_ms", "added_share"):
        if key in summary.refinement:
            flat[f"refinement.{key}"] = summary.refinement[key]
    flat |= {f"check_ranks.{k}": ranks["spearman"] for k, ranks in summary.check_ranks.items()}
    flat |= {f"mask_ap.{key}": value for key, value in summary.mask_ap.items()}
    flat |= {f"detections.{key}": value for key, value in summary.detections.items()}
    for category, group in summary.categories.items():
        if "iou" in group["metrics"]:
            flat[f"category.{category}.iou.mean"] = group["metrics"]["iou"]["mean"]
    return flat | {"images_per_s": summary.images_per_s, "peak_rss_bytes": summary.peak_rss_bytes}
