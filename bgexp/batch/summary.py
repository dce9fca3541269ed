"""The manifest to the numbers of a batch's summary.json."""

import json
import math
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bgexp.batch.planned_batch import PlannedBatch
from bgexp.experiment.aggregate import summarize_stage_times
from bgexp.system.peak_memory import read_peak_memory
from bgexp.tracking.summary import RemovalSummary

if TYPE_CHECKING:
    from bgexp.detect.inference_server import ServerStats

# What the tracking store gets of it.
TRACKED = (
    *("counts", "flags", "timings", "network"),
    *("reused", "images_per_s", "seconds", "peak_rss_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class BatchSummary(RemovalSummary):
    """The summary of a batch; docs/batch.md tells what each number means."""

    command: str = "batch"
    issues: dict[str, int]
    missing_metadata: dict[str, int]
    flags: dict[str, int]
    skipped: dict[str, int]
    network: dict[str, float] | None
    seconds: float
    reused: int


def build_summary(
    batch: PlannedBatch,
    rows: pd.DataFrame,
    seconds: float,
    load: "ServerStats | None" = None,
    newly_done: int = 0,
) -> dict[str, Any]:
    """Return the content of summary.json.

    Args:
        batch: The batch as it was planned.
        rows: The columns of the manifest.
        seconds: Duration of the work, start of the workers included.
        load: Load of the network that all workers shared, if there was one.
        newly_done: How many results were made by this batch; all others an earlier one had left.
    """
    settings, provenance = batch.settings, batch.origin.provenance
    counts = count_outcomes(rows)
    processed = counts["done"] + counts["failed"]
    failed_share = counts["failed"] / max(1, processed)
    done_rows = rows[rows["status"] == "done"]
    return BatchSummary(
        status="failed" if failed_share > settings.max_failed else "finished",
        identity=batch.origin.identity.settings_hash,
        device=dict(batch.origin.device),
        weights={"name": settings.detector.name, "sha256": provenance["weights"]},
        dataset={
            "name": "folder",
            "root": provenance["input"],
            "n_images": processed,
            "n_with_truth": 0,
            "n_population": counts["total"],
            **({"metadata": metadata} if (metadata := batch.folder.plan.metadata) else {}),
        },
        counts=counts,
        issues=_count_names(rows["quality_issues"]),
        missing_metadata=_count_names(rows["missing_metadata"]),
        flags=_count_names(rows["flags"]),
        skipped=_count_skip_reasons(rows),
        metrics={},
        checks=_summarize_checks(done_rows),
        categories=_count_by_category(rows),
        timings=_summarize_times(done_rows["timings_ms"]),
        network=_summarize_network(load),
        seconds=seconds,
        reused=counts["done"] - newly_done,
        images_per_s=newly_done / seconds if newly_done and seconds > 0 else math.nan,
        peak_rss_bytes=max(read_peak_memory(), int(rows["memory"].max()) if len(rows) else 0),
    ).to_document()


def _summarize_network(load: "ServerStats | None") -> dict[str, float] | None:
    if load is None or not load.pictures:
        return None
    return {
        "busy": load.seconds / load.span,
        "images_per_s": load.pictures / load.seconds,
        "pictures_per_batch": load.pictures / load.batches,
    }


def count_outcomes(rows: pd.DataFrame) -> dict[str, int]:
    """Count the files by what became of them."""
    return {name: int(count) for name, count in _mark_outcomes(rows).sum().items()}


def _mark_outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the outcomes as columns, True for the rows that they apply to."""
    done = rows["status"] == "done"
    return pd.DataFrame(
        {
            "total": True,
            "ok": done,
            "done": done,
            "failed": rows["status"] == "failed",
            "skipped": rows["status"] == "skipped",
            "corrupt": rows["reason"].str.startswith("corrupt:").astype(bool),
            "regular": done & (rows["kind"] == "regular"),
            "outliers": done & (rows["kind"] == "outlier"),
            "flagged": rows["flags"] != "",
        },
        index=rows.index,
    )


def _count_names(lists: "pd.Series[str]") -> dict[str, int]:
    """Count the names in texts that join them by commas, the most frequent first."""
    counts: Counter[str] = Counter()
    for text, n in lists[lists != ""].value_counts(sort=False).items():
        for name in str(text).split(","):
            counts[name] += int(n)
    return dict(counts.most_common())


def _count_skip_reasons(rows: pd.DataFrame) -> dict[str, int]:
    reasons = rows["reason"][rows["status"] == "skipped"]
    return dict(Counter(reason.partition(":")[0] for reason in reasons).most_common())


def _summarize_checks(done_rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    checks = {}
    for key in ("coverage", "confidence"):
        values = done_rows[key].dropna().to_numpy(float)
        if len(values):
            p05, median, p95 = np.percentile(values, (5, 50, 95)).tolist()
            mean = float(values.mean())
            checks[key] = {"mean": mean, "median": median, "p05": p05, "p95": p95}
            checks[key] |= {"n_scored": len(values), "n_undefined": len(done_rows) - len(values)}
    return checks


def _count_by_category(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = _mark_outcomes(rows).groupby(rows["category"]).sum()
    return {str(name): row for name, row in counts.to_dict("index").items()}


def _summarize_times(timings: "pd.Series[str]") -> dict[str, dict[str, float]]:
    """Summarize each stage's times from JSON texts of milliseconds by stage."""
    times_by_stage: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for text in timings:
        for stage, milliseconds in json.loads(text).items():
            times_by_stage[stage].append(milliseconds)
    return summarize_stage_times(times_by_stage)
