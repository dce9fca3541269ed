"""A batch as it was planned: what its work, its reports and its record go by."""

from dataclasses import dataclass
from pathlib import Path

from bgexp.batch.journal import Origin
from bgexp.batch.plan_folder import PlanFolder
from bgexp.config.batch import BatchSettings


@dataclass(frozen=True)
class PlannedBatch:
    """The work of one batch, as every worker on it gets it.

    Attributes:
        output: The output folder, absolute.
        folder: The plan, and where it is.
    """

    settings: BatchSettings
    output: Path
    folder: PlanFolder

    @property
    def origin(self) -> Origin:
        """Return what determines the results."""
        return self.folder.plan.origin
