"""Records to the numbers of a batch's summary.json."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bgexp.batch.journal import Record
from bgexp.config.batch import BatchSettings
from bgexp.detect.device import device_name, pick_device
from bgexp.detect.inference_server import ServerStats
from bgexp.experiment.aggregate import stage_times
from bgexp.system.peak_memory import peak_memory
from bgexp.system.provenance import SCHEMA_VERSION, bgexp_state, package_versions


def batch_summary(
    settings: BatchSettings,
    said: Mapping[str, Any],
    records: Sequence[Record],
    seconds: float,
    load: ServerStats | None = None,
    reused: int = 0,
) -> dict[str, Any]:
    """The summary as it is written; docs/batch.md tells what each number means.

    Args:
        settings: Of the batch.
        said: What makes its results, as its journal says.
        records: A row an input.
        seconds: That the work took, start of the workers included.
        load: Of the one network of all workers, if there was one.
        reused: How many of the results were there already.
    """
    device = pick_device(settings.device)
    counts = batch_counts(records)
    worked = counts["done"] + counts["failed"]
    share = counts["failed"] / max(1, worked)
    done = [record for record in records if record.status == "done"]
    new = len(done) - reused
    return {
        "schema_version": SCHEMA_VERSION,
        "command": "batch",
        "status": "failed" if share > settings.max_failed else "finished",
        "run_id": "",
        "parent_run_id": None,
        "reused_from": None,
        "identity": next((one.settings_hash for one in records if one.settings_hash), ""),
        "bgexp": bgexp_state(),
        "versions": package_versions(),
        "device": {
            "requested": settings.device,
            "used": device.type,
            "name": device_name(device),
        },
        "weights": {"name": settings.detector.name, "sha256": said["weights"]},
        "dataset": {
            "name": "folder",
            "root": said["input"],
            "n_images": worked,
            "n_with_truth": 0,
            "n_population": counts["total"],
        },
        "counts": counts,
        "issues": _counted(one.quality_issues for one in records),
        "missing_metadata": _counted(one.missing_metadata for one in records),
        "flags": _counted(one.flags for one in records),
        "skipped": _skipped(records),
        "metrics": {},
        "checks": _checks(done),
        "categories": _categories(records),
        "timings": stage_times([record.timings_ms for record in done]),
        "network": _network(load),
        "seconds": seconds,
        "reused": reused,
        "images_per_s": new / seconds if new and seconds > 0 else math.nan,
        "peak_rss_bytes": max([peak_memory(), *(record.memory for record in records)]),
        "error": "",
    }


def _network(load: ServerStats | None) -> dict[str, float] | None:
    if load is None or not load.pictures:
        return None
    return {
        "busy": load.seconds / load.span,
        "images_per_s": load.pictures / load.seconds,
        "pictures_per_batch": load.pictures / load.batches,
    }


def batch_counts(records: Sequence[Record]) -> dict[str, int]:
    """How many files there are, by what became of them."""
    found = Counter(record.status for record in records)
    kinds = Counter(record.kind for record in records if record.status == "done")
    corrupt = sum(record.reason.startswith("corrupt:") for record in records)
    return {
        "total": len(records),
        "ok": found["done"],
        "done": found["done"],
        "failed": found["failed"],
        "skipped": found["skipped"],
        "corrupt": corrupt,
        "regular": kinds["regular"],
        "outliers": kinds["outlier"],
        "flagged": sum(bool(record.flags) for record in records),
    }


def _counted(lists: Iterable[Iterable[str]]) -> dict[str, int]:
    return dict(Counter(name for names in lists for name in names).most_common())


def _skipped(records: Sequence[Record]) -> dict[str, int]:
    reasons = (record.reason.partition(":")[0] for record in records if record.status == "skipped")
    return dict(Counter(reasons).most_common())


def _checks(done: Sequence[Record]) -> dict[str, dict[str, float]]:
    found = {}
    for key in ("coverage", "confidence"):
        values = [value for one in done if (value := getattr(one, key)) is not None]
        if values:
            p05, median, p95 = np.percentile(values, (5, 50, 95)).tolist()
            mean = float(np.mean(values))
            found[key] = {"mean": mean, "median": median, "p05": p05, "p95": p95}
            found[key] |= {"n_scored": len(values), "n_undefined": len(done) - len(values)}
    return found


def _categories(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.category, []).append(record)
    return {name: batch_counts(group) for name, group in sorted(groups.items())}
