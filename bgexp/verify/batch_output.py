"""A batch's output against its records: journals, manifest, summary, results, masks, inputs."""

import errno
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd

from bgexp.batch.artifacts import REPORTS
from bgexp.batch.journal import Record, read_journal
from bgexp.batch.manifest import PARQUET, build_manifest
from bgexp.batch.output_paths import TREES
from bgexp.batch.plan_folder import PLAN, STATE, PlanFolder, read_plan
from bgexp.batch.planned_file import PlannedFile
from bgexp.batch.summary import count_outcomes
from bgexp.batch.unite import make_rows
from bgexp.errors import UserError
from bgexp.system.folders import Folder, LocalFolder, locate_error
from bgexp.system.hashing import hash_bytes
from bgexp.system.state_files import MAX_STATE, decode_json
from bgexp.system.stores import Address, locate_recorded
from bgexp.tracking.run_folder import PAGE, SUMMARY
from bgexp.verify.inputs import check_input, explain_unreachable
from bgexp.verify.records import (
    compare_csv,
    compare_parquet,
    list_columns,
    tabulate,
    walk_manifest,
)
from bgexp.verify.verification import Damage, RowCheck, Verification, check_rows

# What systems leave in folders that somebody looked at.
_OF_SYSTEMS = {".DS_Store", "Thumbs.db", "desktop.ini"}
_STRANGE = {
    errno.ELOOP: "a link stands in its place",
    errno.ENOTDIR: "no folder leads to it",
    errno.EINVAL: "is no regular file",
}
_EMPTY = hash_bytes(b"")
_TREES = tuple(f"{name}/" for name in TREES)
_FILES = ("output", "mask", "alpha")
_COLUMNS = ("path", "status", "input_sha256", *_FILES, *(f"{name}_sha256" for name in _FILES))


@dataclass(frozen=True)
class BatchRow:
    """A row of the record, its files, and its input where that can be reached."""

    output: Folder
    record: Record
    place: Path | Address | None = None

    @property
    def files(self) -> dict[str, str]:
        """Return the recorded SHA-256 of each of its files in the output."""
        return self.record.results

    def check(self) -> RowCheck:
        """Read its files and its input."""
        check = RowCheck(len(self.files))
        for name, sha256 in self.files.items():
            if (actual := self.output.hash(name)) != sha256:
                check.damage.append(self._describe(name, actual, sha256))
        if self.place is not None and self.record.input_sha256:
            check.n_inputs = 1
            damaged = check_input(self.place, self.record.input_sha256, self.record.path)
            check.damage += [damaged] if damaged else []
        return check

    def _describe(self, name: str, actual: str | None, sha256: str) -> Damage:
        row = self.record.path
        if actual is None or not self.output.holds([name]):  # a pipe has the hash of no bytes
            return Damage(name, explain_unreadable(self.output, name), row, recorded=sha256)
        return Damage(name, "is empty" if actual == _EMPTY else "was changed", row, actual, sha256)


def explain_unreadable(output: Folder, name: str) -> str:
    """Return why there are no bytes of a file."""
    try:
        output.read(name)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return _STRANGE.get(error.errno or 0) or f"cannot be read: {error.strerror}"
    return "is no regular file"


def verify_batch(output: Folder, subset: float | None) -> Verification:
    """Compare all that is in the output with its records.

    Args:
        output: The output of a batch.
        subset: Share of the rows whose files are read; that they are there is seen of all.

    Raises:
        UserError: It is no output of a batch, or a store does not answer.
    """
    verification = Verification(str(output))
    try:
        _verify(output, subset, verification)
    except OSError as error:
        raise UserError(f"output: {locate_error(output, error)}: {error.strerror}") from error
    return verification


def _verify(output: Folder, subset: float | None, verification: Verification) -> None:
    folder = _find_plan(output, verification)
    if folder is not None and not output.holds([SUMMARY]) and (n_open := _count_open(folder)):
        problem = f"the batch has not come to its end: {n_open} of its parts are not done"
        verification.damage.append(Damage(str(output), f"{problem}; run the same command again"))
        return
    journals = folder and _check_journals(folder, verification)
    try:
        columns = list_columns(output)
    except (OSError, ValueError):
        columns = list(build_manifest([]).columns)
    if journals:

        def tables() -> Iterator[pd.DataFrame]:
            return tabulate(journals.walk_records(), columns)

        verification.damage += compare_parquet(tables, output, columns)
        rows = journals.walk
    else:
        tables = partial(walk_manifest, output, columns)
        verification.damage += compare_parquet(tables, output, columns)  # whether it can be read
        if verification.damage and verification.damage[-1].file == PARQUET:
            verification.notes.append("no record of the rows is whole: no file was looked at")
            return
        rows = partial(_walk_manifest_rows, output)
    verification.damage += compare_csv(tables, output, columns)
    counts: Counter[str] = Counter()
    for table in tables():
        counts.update(count_outcomes(table))
    verification.n_rows = counts["total"]
    verification.damage += _check_reports(output, counts)
    check_rows(rows(), verification.n_rows, subset, verification)
    _check_names(output, rows, folder, verification)


@dataclass(frozen=True)
class Journals:
    """The rows by the journals of a plan, all of them whole."""

    folder: PlanFolder
    has_inputs: bool

    def walk_parts(self) -> Iterator[list[tuple[PlannedFile, Record]]]:
        """Yield the files of each part with their rows."""
        for number in range(self.folder.plan.n_parts):
            files = self.folder.read_part(number)
            content = read_journal(self.folder.output, self.folder.get_journal(number))
            yield list(zip(files, make_rows(files, content) or (), strict=True))

    def walk_records(self) -> Iterator[list[Record]]:
        """Yield the rows of each part."""
        for part in self.walk_parts():
            yield [record for _, record in part]

    def walk(self) -> Iterator[BatchRow]:
        """Yield all rows with their inputs."""
        for part in self.walk_parts():
            for file, record in part:
                place = file.file if self.has_inputs else None
                yield BatchRow(self.folder.output, record, place)


def _find_plan(output: Folder, verification: Verification) -> PlanFolder | None:
    folder = read_plan(output)
    if folder is None:
        if not any(output.holds([name]) for name in (PLAN, *REPORTS)):
            raise UserError(f"output: {output} is neither the output of a batch nor a run's folder")
        if output.holds([PLAN]):
            verification.damage.append(Damage(PLAN, "cannot be read"))
        verification.notes.append(
            f"without the plan in {STATE}/ the rows are those of {PARQUET}, and no input is known"
        )
    return folder


def _count_open(folder: PlanFolder) -> int:
    contents = (
        read_journal(folder.output, folder.get_journal(n)) for n in range(folder.plan.n_parts)
    )
    return sum(content.closing is None for content in contents)


def _check_journals(folder: PlanFolder, verification: Verification) -> Journals | None:
    """Return the journals; None where one of them is damaged, which is noted."""
    damage = []
    for number in range(folder.plan.n_parts):
        name = folder.get_journal(number)
        try:
            files, content = folder.read_part(number), read_journal(folder.output, name)
        except UserError:
            damage.append(Damage(folder.get_files(number), "cannot be read"))
            continue
        if content.damaged:
            damage.append(Damage(name, f"{content.damaged} of its lines are damaged"))
        elif content.closing is None or make_rows(files, content) is None:
            damage.append(Damage(name, "lacks lines"))
    verification.damage += damage
    if damage:
        verification.notes.append(f"the journals are damaged: the rows are those of {PARQUET}")
        return None
    place = locate_recorded(folder.plan.origin.provenance["input"])
    if reason := explain_unreachable(place):
        verification.notes.append(f"the inputs were not looked at: {place}: {reason}")
    return Journals(folder, has_inputs=not reason)


def _walk_manifest_rows(output: Folder) -> Iterator[BatchRow]:
    there = list_columns(output)  # earlier versions had no alpha
    for table in walk_manifest(output, [name for name in _COLUMNS if name in there]):
        for values in table.to_dict("records"):
            record = Record(category="", **{str(key): value for key, value in values.items()})
            yield BatchRow(output, record)


def _check_reports(output: Folder, counts: Counter[str]) -> Iterator[Damage]:
    try:
        summary = decode_json(output.read(SUMMARY, MAX_STATE))
        recorded = summary["counts"]
    except FileNotFoundError:
        yield Damage(SUMMARY, "is missing")
    except (OSError, ValueError, KeyError, TypeError):
        yield Damage(SUMMARY, "cannot be read")
    else:
        wrong = [name for name in counts if recorded.get(name) != counts[name]]
        if wrong:
            yield Damage(SUMMARY, f"its counts are not those of the rows: {', '.join(wrong)}")
    if not output.holds([PAGE]):
        yield Damage(PAGE, "is missing")


def _check_names(
    output: Folder,
    walk_rows: Callable[[], Iterator[BatchRow]],
    folder: PlanFolder | None,
    verification: Verification,
) -> None:
    """Note files that no row names, and missing ones of rows that were not read."""
    foreign = set(_walk_names(output, folder))
    damaged = {damage.file for damage in verification.damage}
    for row in walk_rows():
        for name, sha256 in row.files.items():
            if name not in foreign and name not in damaged:
                damage = Damage(name, "is missing", row.record.path, recorded=sha256)
                verification.damage.append(damage)
            foreign.discard(name)
    _explain_changes(walk_rows, verification)
    _explain_losses(output, foreign, verification)
    verification.damage += [Damage(name, "no row names it") for name in foreign]


def _walk_names(output: Folder, folder: PlanFolder | None) -> Iterator[str]:
    """Yield the names of what is in the output, but for a batch's own records and its input."""
    own = [f"{STATE}/"]
    if folder is not None and isinstance(output, LocalFolder):  # one may lie in the other
        source = Path(folder.plan.origin.provenance["input"])
        if source != output.path and source.is_relative_to(output.path):
            own.append(f"{source.relative_to(output.path).as_posix()}/")
    for name in output.walk():
        is_own = name in REPORTS or name.startswith(tuple(own))
        if not is_own and PurePosixPath(name).name not in _OF_SYSTEMS:
            yield name


def _explain_changes(
    walk_rows: Callable[[], Iterator[BatchRow]], verification: Verification
) -> None:
    """Name the file whose content stands in another's place."""
    strange = {damage.actual for damage in verification.damage if damage.actual}
    if not strange:
        return
    owners = {
        sha256: name
        for row in walk_rows()
        for name, sha256 in row.files.items()
        if sha256 in strange
    }
    verification.damage = [
        replace(damage, problem=f"holds {owners[damage.actual]}")
        if damage.actual in owners
        else damage
        for damage in verification.damage
    ]


def _explain_losses(output: Folder, foreign: set[str], verification: Verification) -> None:
    """Name where a missing file lies now; it is no other damage then."""
    lost = {d.recorded: n for n, d in enumerate(verification.damage) if d.recorded and not d.actual}
    for name in sorted(foreign) if lost else ():
        place = lost.get(output.hash(name) or "") if name.startswith(_TREES) else None
        if place is not None:
            damage = verification.damage[place]
            verification.damage[place] = replace(damage, problem=f"was renamed to {name}")
            foreign.discard(name)
