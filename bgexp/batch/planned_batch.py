"""A batch as it was planned: what its work, its reports and its record go by."""

from dataclasses import dataclass

from bgexp.batch.journal import Origin
from bgexp.batch.plan_folder import PlanFolder
from bgexp.config.batch import BatchSettings
from bgexp.system.folders import Folder


@dataclass(frozen=True)
class PlannedBatch:
    """The work of one batch, as every worker on it gets it.

    Attributes:
        folder: The plan, and where it is.
    """

    settings: BatchSettings
    folder: PlanFolder

    @property
    def output(self) -> Folder:
        """Return the output folder."""
        return self.folder.output

    @property
    def origin(self) -> Origin:
        """Return what determines the results."""
        return self.folder.plan.origin
