"""The plan of a batch on disk: parts, each with its files and its journal.

`.bgexp/plan.jsonl` names the folder of the parts, in which NNNNN.plan.jsonl holds the files of a
part and NNNNN.journal.jsonl what became of them. A plan never changes: where the input has, a new
folder takes its place, whole or not at all.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice, zip_longest

from pydantic import TypeAdapter, ValidationError

from bgexp.batch.journal import (
    Journal,
    JournalContent,
    Origin,
    Record,
    read_journal,
    refuse_strange_name,
)
from bgexp.batch.planned_file import (
    PlannedFile,
    decode_planned_files,
    encode_planned_files,
    quote_path,
)
from bgexp.errors import UserError
from bgexp.system.checked_lines import encode_line, find_text
from bgexp.system.folders import Folder
from bgexp.system.listing import FileEntry
from bgexp.system.progress import tell
from bgexp.system.state_files import MAX_STATE
from bgexp.system.stores import locate_recorded

STATE = ".bgexp"  # the folder inside the output that holds plan, journals and lock
PLAN = f"{STATE}/plan.jsonl"
_PARTS = "[0-9a-f]{8}"  # names of the folders of parts
PART_FILES = 500  # at most in a part


@dataclass(frozen=True)
class Plan:
    """A batch's plan.

    Attributes:
        folder: Name of the folder of its parts.
        origin: All that determines the results.
        metadata: Path, form and SHA-256 of the CSV of metadata; {} for none.
        n_images: How many images each part has to process.
    """

    folder: str
    origin: Origin
    metadata: dict[str, str]
    n_images: tuple[int, ...] = ()

    @property
    def n_parts(self) -> int:
        """Return the number of parts, which count from 0."""
        return len(self.n_images)


_PLAN = TypeAdapter(Plan)


@dataclass(frozen=True)
class PlanFolder:
    """A plan and the output folder that holds it."""

    output: Folder
    plan: Plan

    def get_journal(self, number: int) -> str:
        """Return the name of a part's journal."""
        return f"{STATE}/{self.plan.folder}/{number:05}.journal.jsonl"

    def get_files(self, number: int) -> str:
        """Return the name of the file of a part's planned files."""
        return f"{STATE}/{self.plan.folder}/{number:05}.plan.jsonl"

    def read_part(self, number: int) -> list[PlannedFile]:
        """Return the files of a part, in the order of their paths.

        Raises:
            UserError: It is damaged, or names a file that is no result of the output folder.
        """
        name = self.get_files(number)
        path = f"{self.output}/{name}"
        try:
            files = decode_planned_files(self.output.read(name, MAX_STATE))
        except OSError as error:
            raise UserError(f"output: {path}: {error.strerror}") from error
        if not files:
            raise UserError(
                f"output: {path} is damaged: run the same command without part=, which plans anew"
            )
        for result in (name for file in files for name in file.results):
            refuse_strange_name(result, path)
        return files

    def walk(self) -> Iterator[PlannedFile]:
        """Yield all files, in the order of their paths."""
        for number in range(self.plan.n_parts):
            yield from self.read_part(number)

    def is_of(self, entries: Iterable[FileEntry]) -> bool:
        """Return whether these are the files that were planned, unchanged."""
        try:
            return all(
                file is not None
                and entry is not None
                and (file.path, file.address, file.state)
                == (entry.path, quote_path(entry.file), entry.state)
                for file, entry in zip_longest(self.walk(), entries)
            )
        except UserError:
            return False

    def read_records(self, number: int) -> JournalContent:
        """Read a part's journal, and tell what of it is lost."""
        name = self.get_journal(number)
        content = read_journal(self.output, name)
        if content.damaged:
            tell(f"{content.damaged} damaged lines in {name}: their images are done again")
        return content

    def walk_records(self) -> Iterator[Record]:
        """Yield the records of all parts by path, superseded ones first; what is damaged is not."""
        for number in range(self.plan.n_parts):
            content = self.read_records(number)
            records = [*content.superseded, *content.records.values()]
            yield from sorted(records, key=lambda record: record.path)


def read_plan(output: Folder) -> PlanFolder | None:
    """Return the plan of an output; None where there is none, or a damaged one."""
    try:
        text = find_text(output.read(PLAN, MAX_STATE))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"output: {output}/{PLAN}: {error.strerror}") from error
    try:
        plan = _PLAN.validate_json(text) if text else None
        if plan is not None:
            locate_recorded(plan.origin.provenance.get("input"))
    except (ValidationError, UserError):
        return None
    return PlanFolder(output, plan) if plan and re.fullmatch(_PARTS, plan.folder) else None


def write_plan(
    output: Folder,
    plan: Plan,
    files: Iterator[PlannedFile],
    n_files: int,
    n_parts: int,
    earlier: Iterable[Record],
) -> tuple[PlanFolder, list[Record]]:
    """Write the parts of a plan; it counts once `use_plan` is called.

    Args:
        output: The output folder.
        plan: The plan, its parts not yet known.
        files: The planned files, in the order of their paths.
        n_files: How many there are.
        n_parts: How many parts they are divided into.
        earlier: Records of an earlier plan by path; each goes into the journal of its part.

    Returns:
        The plan, and the records of results whose inputs are not among the files.
    """
    folder, n_images, lost = PlanFolder(output, plan), [], []
    records = iter(earlier)
    record = next(records, None)
    for number in range(n_parts):
        size = n_files * (number + 1) // n_parts - n_files * number // n_parts
        part = list(islice(files, size))
        output.write(folder.get_files(number), encode_planned_files(part))
        n_images.append(sum(not file.reason for file in part))
        paths, is_last = {file.path for file in part}, number == n_parts - 1
        own = []
        while record is not None and (is_last or record.path <= part[-1].path):
            own.append(record)
            record = next(records, None)
        lost += [lost for lost in own if lost.output and lost.path not in paths]
        if own:
            Journal(output, folder.get_journal(number), own)
    return PlanFolder(output, replace(plan, n_images=tuple(n_images))), lost


def use_plan(folder: PlanFolder) -> None:
    """Make it the plan of its output, and delete all others."""
    folder.output.write(PLAN, encode_line(asdict(folder.plan)))
    discard_plans(folder.output, keep=folder.plan.folder)


def discard_plans(output: Folder, keep: str) -> None:
    """Delete the parts of all plans but one, such as what a killed batch left of its planning."""
    for name in output.list_folders(STATE):
        if re.fullmatch(_PARTS, name) and name != keep:
            output.discard(f"{STATE}/{name}")
