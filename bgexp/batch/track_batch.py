"""The record of a batch in the tracking store."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.summary import TRACKED
from bgexp.config.check import flatten_settings
from bgexp.system.provenance import describe_bgexp
from bgexp.tracking.outbox import RunRecord
from bgexp.tracking.summary import flatten_numbers


def track_batch(
    batch: PlannedBatch, summary: dict[str, Any], began: datetime, send: Callable[[RunRecord], str]
) -> dict[str, Any]:
    """Send the record to the tracking store, which may be away; return the summary with its run."""
    settings, output = batch.settings, batch.output
    post = RunRecord(
        name=f"batch {output.name}",
        experiment=settings.tracking.experiment,
        status="FINISHED" if summary["status"] == "finished" else "FAILED",
        began_ms=int(1000 * began.timestamp()),
        params={key: str(value) for key, value in flatten_settings(settings).items()},
        metrics=flatten_numbers({key: summary[key] for key in TRACKED}),
        tags={f"bgexp.{key}": str(value) for key, value in describe_bgexp().items()}
        | {"bgexp.folder": str(output), "bgexp.command": "batch"},
    )
    return {**summary, "run_id": send(post)}
