"""Records to the numbers of a batch's summary.json."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bgexp.batch.journal import Record
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
    records: Sequence[Record],
    seconds: float,
    load: "ServerStats | None" = None,
    reused: int = 0,
) -> dict[str, Any]:
    """Return the content of summary.json.

    Args:
        batch: The batch as it was planned.
        records: One record per input file.
        seconds: Duration of the work, start of the workers included.
        load: Load of the network that all workers shared, if there was one.
        reused: How many of the results an earlier batch had left.
    """
    settings, provenance = batch.settings, batch.provenance
    counts = count_outcomes(records)
    processed = counts["done"] + counts["failed"]
    failed_share = counts["failed"] / max(1, processed)
    done_records = [record for record in records if record.status == "done"]
    newly_done = len(done_records) - reused
    return BatchSummary(
        status="failed" if failed_share > settings.max_failed else "finished",
        identity=next((record.settings_hash for record in records if record.settings_hash), ""),
        device=dict(batch.device),
        weights={"name": settings.detector.name, "sha256": provenance["weights"]},
        dataset={
            "name": "folder",
            "root": provenance["input"],
            "n_images": processed,
            "n_with_truth": 0,
            "n_population": counts["total"],
            **batch.metadata_form,
        },
        counts=counts,
        issues=_count_names(record.quality_issues for record in records),
        missing_metadata=_count_names(record.missing_metadata for record in records),
        flags=_count_names(record.flags for record in records),
        skipped=_count_skip_reasons(records),
        metrics={},
        checks=_summarize_checks(done_records),
        categories=_count_by_category(records),
        timings=summarize_stage_times([record.timings_ms for record in done_records]),
        network=_summarize_network(load),
        seconds=seconds,
        reused=reused,
        images_per_s=newly_done / seconds if newly_done and seconds > 0 else math.nan,
        peak_rss_bytes=max([read_peak_memory(), *(record.memory for record in records)]),
    ).to_document()


def _summarize_network(load: "ServerStats | None") -> dict[str, float] | None:
    if load is None or not load.pictures:
        return None
    return {
        "busy": load.seconds / load.span,
        "images_per_s": load.pictures / load.seconds,
        "pictures_per_batch": load.pictures / load.batches,
    }


def count_outcomes(records: Sequence[Record]) -> dict[str, int]:
    """Count the files by what became of them."""
    statuses = Counter(record.status for record in records)
    kinds = Counter(record.kind for record in records if record.status == "done")
    corrupt = sum(record.reason.startswith("corrupt:") for record in records)
    return {
        "total": len(records),
        "ok": statuses["done"],
        "done": statuses["done"],
        "failed": statuses["failed"],
        "skipped": statuses["skipped"],
        "corrupt": corrupt,
        "regular": kinds["regular"],
        "outliers": kinds["outlier"],
        "flagged": sum(bool(record.flags) for record in records),
    }


def _count_names(lists: Iterable[Iterable[str]]) -> dict[str, int]:
    return dict(Counter(name for names in lists for name in names).most_common())


def _count_skip_reasons(records: Sequence[Record]) -> dict[str, int]:
    reasons = (record.reason.partition(":")[0] for record in records if record.status == "skipped")
    return dict(Counter(reasons).most_common())


def _summarize_checks(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    checks = {}
    for key in ("coverage", "confidence"):
        values = [value for record in records if (value := getattr(record, key)) is not None]
        if values:
            p05, median, p95 = np.percentile(values, (5, 50, 95)).tolist()
            mean = float(np.mean(values))
            checks[key] = {"mean": mean, "median": median, "p05": p05, "p95": p95}
            checks[key] |= {"n_scored": len(values), "n_undefined": len(records) - len(values)}
    return checks


def _count_by_category(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.category, []).append(record)
    return {name: count_outcomes(group) for name, group in sorted(groups.items())}
