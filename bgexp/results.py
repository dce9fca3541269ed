"""What a run finds: a row an image, their summary, and when a run counts as failed."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bgexp.files import write_json, write_whole
from bgexp.metrics import CHECKS, METRICS, aggregate

SCHEMA_VERSION = 1
STAGES = ("load", "detect", "combine", "refine", "cutout", "write")

Status = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Row:
    """One image of a run: scores, or the reason why there are none.

    Attributes:
        path: Relative to the dataset, POSIX.
        status: ok, or failed with a reason of one line.
        metrics: By METRICS; empty without truth or result.
        checks: By CHECKS; empty without result.
        fallback: Why the unrefined mask was kept; empty where it was not.
        timings_ms: By STAGES.
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
    fallback: str = ""
    timings_ms: dict[str, float] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """The row as columns of a table: every key is there, undefined is NaN."""
        columns = {
            key: value
            for key, value in asdict(self).items()
            if key not in ("metrics", "checks", "timings_ms")
        }
        columns |= {key: self.metrics.get(key, math.nan) for key in METRICS}
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
    timings: dict[str, dict[str, float]]
    images_per_s: float
    peak_rss_bytes: int
    error: str = ""
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> None:
        """Writes it as strict JSON, whole or not at all; undefined numbers are null."""
        fields = asdict(self)
        write_json(path, {"schema_version": fields.pop("schema_version"), **fields})


def counted(rows: Sequence[Row], total: int) -> dict[str, int]:
    """How many images there are, worked out, failed, and (interrupted) were never reached."""
    failed = sum(row.status == "failed" for row in rows)
    ok = len(rows) - failed
    return {"total": total, "ok": ok, "failed": failed, "skipped": total - len(rows)}


def summarised(rows: Sequence[Row], kind: Literal["metrics", "checks"]) -> dict[str, Any]:
    """Every metric (or check) over the rows: mean, median, p05, p95, n_scored, n_undefined.

    All of them or, where no row has any, none: a dataset without truth has no metrics.
    """
    values = [getattr(row, kind) for row in rows if row.status == "ok"]
    keys = (METRICS if kind == "metrics" else CHECKS) if any(values) else ()
    return {key: asdict(aggregate([value.get(key, math.nan) for value in values])) for key in keys}


def by_category(rows: Sequence[Row]) -> dict[str, Any]:
    """For each category its counts, metrics and checks."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.category].append(row)
    return {
        name: {
            "counts": counted(group, len(group)),
            "metrics": summarised(group, "metrics"),
            "checks": summarised(group, "checks"),
        }
        for name, group in sorted(groups.items())
    }


def timings(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """For each stage its total in seconds and mean, median and 95th percentile in milliseconds."""
    found = {}
    for stage in STAGES:
        times = [row.timings_ms[stage] for row in rows if stage in row.timings_ms]
        if times:
            p50, p95 = np.percentile(times, (50, 95))
            found[stage] = {
                "total_s": sum(times) / 1000,
                "mean_ms": float(np.mean(times)),
                "p50_ms": float(p50),
                "p95_ms": float(p95),
            }
    return found


def run_status(counts: dict[str, int], max_failed: float) -> Status:
    """The one place that decides whether failed images fail the run."""
    if counts["skipped"]:
        return "interrupted"
    # Divided, not multiplied: 0.29 * 100 is below 29.
    return "failed" if counts["failed"] / max(1, counts["total"]) > max_failed else "finished"


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Writes the rows as Parquet, whole or not at all."""
    columns = Row("", "", "", "ok").flat()  # a run that was interrupted at once has no row
    table = pd.DataFrame([row.flat() for row in rows], columns=list(columns))
    write_whole(path, table.to_parquet(index=False))


def numbers(summary: Summary) -> dict[str, float]:
    """What a tracking store shows of a summary: `iou.mean`, `timings.refine.p95_ms` and so on."""
    found = {f"{key}.{name}": v for key, m in summary.metrics.items() for name, v in m.items()}
    found |= {f"checks.{k}.{name}": v for k, m in summary.checks.items() for name, v in m.items()}
    found |= {f"timings.{k}.{name}": v for k, m in summary.timings.items() for name, v in m.items()}
    found |= {f"counts.{key}": value for key, value in summary.counts.items()}
    for category, group in summary.categories.items():
        if "iou" in group["metrics"]:
            found[f"category.{category}.iou.mean"] = group["metrics"]["iou"]["mean"]
    return found | {"images_per_s": summary.images_per_s, "peak_rss_bytes": summary.peak_rss_bytes}
