"""A batch as it was planned: what its work, its reports and its record go by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bgexp.batch.journal import Identity, Record
from bgexp.batch.planned_file import PlannedFile
from bgexp.config.batch import BatchSettings


@dataclass(frozen=True)
class PlannedBatch:
    """The work of one batch.

    Attributes:
        provenance: All that determines its results.
        device: What computes, as `describe_device` returns it.
        metadata_form: How the file of metadata was read, as `describe_metadata_table` returns it.
    """

    settings: BatchSettings
    output: Path
    identity: Identity
    provenance: Mapping[str, Any]
    device: Mapping[str, str]
    planned: Sequence[PlannedFile]
    earlier: Mapping[str, Record]
    metadata_form: Mapping[str, Any] = field(default_factory=dict)
