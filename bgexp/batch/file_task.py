"""What a worker gets and what it gives back; light, for the process that only deals them out."""

from dataclasses import dataclass

from bgexp.batch.journal import Identity, Record
from bgexp.batch.planned_file import PlannedFile


@dataclass(frozen=True)
class FileTask:
    """A worker's task: an input, what was recorded of it before, and the part it belongs to."""

    planned: PlannedFile
    earlier: Record | None
    part: int = 0


@dataclass(frozen=True)
class BatchAborted:
    """No image can be processed, for whatever reason: the batch has to stop."""

    reason: str


Outcome = Record | BatchAborted


def make_record(planned: PlannedFile, identity: Identity) -> Record:
    """Return the record of an input before it is processed."""
    return Record(
        planned.path,
        planned.category,
        "done",
        kind=planned.kind,
        quality_issues=planned.issues,
        missing_metadata=planned.missing,
        settings_hash=identity.settings_hash,
        weights_sha256=identity.weights_sha256,
        model_name=identity.model_name,
        model_version=identity.model_version,
    )
