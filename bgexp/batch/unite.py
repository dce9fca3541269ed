"""The parts of a batch to one manifest: each input with its row, in bounded memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bgexp.batch.journal import JournalContent, Record, read_journal
from bgexp.batch.manifest import walk_names, write_manifest
from bgexp.batch.output_folder import remove_superseded, remove_temporary
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.planned_file import PlannedFile, judge_reason
from bgexp.errors import UserError
from bgexp.system.progress import tell

_SHOWN = 8  # parts in a message


@dataclass
class PartsDone:
    """What the parts say of their work, taken in as their records are read.

    Attributes:
        newly_done: How many results were made by those who closed the parts.
        began, ended: When the first was begun and the last one ended, in seconds since 1970.
        superseded: Records of results under names of an earlier batch.
    """

    newly_done: int = 0
    began: float = math.inf
    ended: float = -math.inf
    superseded: list[Record] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return how long the work lasted."""
        return max(0.0, self.ended - self.began)


def unite_parts(batch: PlannedBatch) -> PartsDone:
    """Write the manifest of all parts, and delete results that no row names any more.

    Raises:
        UserError: A part is not done.
        OSError: The manifest cannot be written.
    """
    done = PartsDone()
    write_manifest(_walk_records(batch, done), batch.output)
    if done.superseded:
        removed = remove_superseded(batch.output, done.superseded, set(walk_names(batch.output)))
        if removed:
            tell(f"{removed} files of results that are out of date were deleted")
    remove_temporary(batch.output)
    return done


def _walk_records(batch: PlannedBatch, done: PartsDone) -> Iterator[Record]:
    """Yield a record for each planned file, in their order."""
    for number in range(batch.folder.plan.n_parts):
        content = read_journal(batch.output, batch.folder.get_journal(number))
        files = batch.folder.read_part(number)
        rows = make_rows(files, content)
        if content.closing is None or rows is None:
            raise UserError(describe_missing([number], batch.folder.plan.n_parts))
        closing, records = content.closing, content.records
        done.newly_done += closing.newly_done
        done.began, done.ended = min(done.began, closing.began), max(done.ended, closing.ended)
        done.superseded += content.superseded
        for file, row in zip(files, rows, strict=True):
            if file.reason and row.status == "failed":
                tell(f"{row.path}: {row.status}: {row.reason}")
            before = records.pop(row.path, row)
            if before is not row and before.output:
                done.superseded.append(before)
            yield row
        done.superseded += [record for record in records.values() if record.output]


def make_rows(files: Sequence[PlannedFile], content: JournalContent) -> list[Record] | None:
    """Return the row of each file of a part; None where the part's journal lacks one."""
    if not all(file.reason or file.path in content.records for file in files):
        return None
    return [
        Record(file.path, file.category, judge_reason(file.reason), file.reason)
        if file.reason
        else content.records[file.path]
        for file in files
    ]


def describe_missing(numbers: Sequence[int], n_parts: int) -> str:
    """Return a line that names parts that are not done, counted from 1."""
    names = ", ".join(str(number + 1) for number in numbers[:_SHOWN])
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return (
        f"part: {len(numbers)} of the plan's {n_parts} parts are not done: {names}{more}; run the "
        "same command for the shares that did not come to their end, or without part= for all that "
        "is left"
    )
