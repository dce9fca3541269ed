"""What a run leaves: a row an image, a summary, and when a run counts as failed."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pandas as pd

from bgexp.metrics.checks import CHECKS
from bgexp.metrics.matting import MATTING_METRICS
from bgexp.metrics.performance import METRICS
from bgexp.tracking.summary import RemovalSummary, Status, flatten_numbers

UNREFINED = ("iou", "boundary_iou")  # metrics that are also taken before refinement
STAGES = ("load", "detect", "combine", "refine", "cutout", "encode", "write")


@dataclass(frozen=True)
class ImageResult:
    """One image of a run: scores, or the reason why there are none.

    Attributes:
        path: Relative to the dataset, POSIX.
        status: ok, or failed with a reason of one line.
        metrics: By METRICS, and by MATTING_METRICS where the truth is soft; empty without truth or
            result.
        checks: By CHECKS; empty without result.
        unrefined: By UNREFINED, of the mask before refinement; empty without truth or refinement.
        truth_fits: As `measure_truth_fits`; empty without truth or result.
        threshold_scores: As `score_thresholds`, before refinement; empty without truth or result.
        refined: "off", "applied", "skipped" or "refused", as in `refine.Refined`.
        fallback: Why refinement was skipped or refused; else empty.
        mask_sha256, alpha_sha256: Of the files in masks.zip and alpha.zip; "" where there is none.
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
    truth_fits: dict[str, float] = field(default_factory=dict)
    threshold_scores: dict[str, list[float]] = field(default_factory=dict)
    refined: str = "off"
    fallback: str = ""
    mask_sha256: str = ""
    alpha_sha256: str = ""
    cached: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)

    def to_columns(self) -> dict[str, Any]:
        """Return the row as columns of a table; undefined is NaN.

        Every key is there, but MATTING_METRICS only where the truth is soft.
        """
        columns = {key: value for key, value in asdict(self).items() if not isinstance(value, dict)}
        columns |= {key: self.metrics.get(key, math.nan) for key in METRICS}
        columns |= {key: self.metrics[key] for key in MATTING_METRICS if key in self.metrics}
        columns |= {f"unrefined.{k}": self.unrefined.get(k, math.nan) for k in UNREFINED}
        columns |= {f"check.{key}": self.checks.get(key, math.nan) for key in CHECKS}
        return columns | {f"ms.{key}": self.timings_ms.get(key, math.nan) for key in STAGES}


@dataclass(frozen=True, kw_only=True)
class RunSummary(RemovalSummary):
    """The summary of a run."""

    command: str = "run"
    refinement: dict[str, Any]
    check_ranks: dict[str, dict[str, float]]
    threshold_curve: dict[str, Any]
    mask_ap: dict[str, float]
    detections: dict[str, int]
    workers: int
    files: dict[str, str] = field(default_factory=dict)  # their hashes, which the run's folder adds

    def to_metrics(self) -> dict[str, float]:
        """Return what a tracking store compares: `iou.mean`, `timings.refine.p95_ms` and so on."""
        names = ("checks", "timings", "counts", "refinement", "mask_ap", "detections")
        ious = {name: group["metrics"].get("iou") for name, group in self.categories.items()}
        return flatten_numbers(
            {key: getattr(self, key) for key in (*names, "images_per_s", "peak_rss_bytes")}
            | self.metrics
            | {"check_ranks": {key: ranks["spearman"] for key, ranks in self.check_ranks.items()}}
            | {"category": {k: {"iou": {"mean": iou["mean"]}} for k, iou in ious.items() if iou}}
        )


def run_status(counts: dict[str, int], max_failed: float) -> Status:
    """Decide whether failed images fail the run; nothing else does."""
    if counts["skipped"]:
        return "interrupted"
    # Divided, not multiplied: 0.29 * 100 is below 29.
    return "failed" if counts["failed"] / max(1, counts["total"]) > max_failed else "finished"


def tabulate_rows(rows: Sequence[ImageResult]) -> pd.DataFrame:
    """Return the rows as a table."""
    tables = [row.to_columns() for row in rows]
    columns = dict.fromkeys(ImageResult("", "", "", "ok").to_columns())  # where there is no row
    columns |= dict.fromkeys(key for table in tables for key in table)
    return pd.DataFrame(tables, columns=list(columns))
