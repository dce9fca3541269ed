"""A part of a batch: what is left to do of it, and the journal of what was done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from time import time

from bgexp.batch.file_task import FileTask
from bgexp.batch.journal import Closing, Journal, Record, read_journal
from bgexp.batch.output_folder import refuse_links
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.planned_file import PlannedFile


@dataclass
class Part:
    """A part that is being worked on.

    Attributes:
        number: Which part of the plan, from 0.
        tasks: The images that are to be processed or checked.
    """

    number: int
    tasks: Sequence[FileTask]
    _journal: Journal
    _n_left: int
    _newly_done: int = 0
    _began: float = field(default_factory=time)

    def add(self, task: FileTask, record: Record) -> bool:
        """Note what became of an image; close the part after the last one, and return whether so.

        Raises:
            OSError: It could not be written.
        """
        if record != task.earlier:
            self._journal.add(record)
            self._newly_done += record.status == "done"
        self._n_left -= 1
        if not self._n_left:
            self.close()
        return not self._n_left

    def flush(self) -> None:
        """Write all that was noted, or raise OSError."""
        self._journal.flush()

    def close(self) -> None:
        """Write that the part is done."""
        self._journal.add(Closing(self._newly_done, self._began, time()))


def open_part(batch: PlannedBatch, number: int) -> Part:
    """Read a part's files and what is known of them, and begin its journal.

    Raises:
        UserError: It is damaged, or something in the output is a link.
    """
    files, content = batch.folder.read_part(number), batch.folder.read_records(number)
    refuse_links(batch.output, _list_folders(files))
    records = content.records
    images = [file for file in files if not file.reason]
    tasks = [FileTask(file, records.get(file.path), number) for file in images]
    earlier = [*content.superseded, *records.values()]
    journal = Journal(batch.output, batch.folder.get_journal(number), earlier)
    part = Part(number, tasks, journal, len(tasks))
    if not tasks:
        part.close()
    return part


def find_open_parts(batch: PlannedBatch, numbers: Iterable[int] | None = None) -> list[int]:
    """Return which parts, of all or of these, are not done."""
    numbers = range(batch.folder.plan.n_parts) if numbers is None else numbers
    return [number for number in numbers if not _is_done(batch, number)]


def _is_done(batch: PlannedBatch, number: int) -> bool:
    """Return whether a part's work is at its end, and its results are still there."""
    content = read_journal(batch.output, batch.folder.get_journal(number))
    records = content.records.values()
    return content.closing is not None and batch.output.holds(
        [name for record in records for name in record.results]
    )


def _list_folders(files: Sequence[PlannedFile]) -> list[str]:
    """Return the folders of the output that results go to, relative to it."""
    names = {name for file in files for name in file.results}
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    return sorted(folders - {"."})
