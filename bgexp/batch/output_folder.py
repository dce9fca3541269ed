"""The output folder: whose it is, who works in it now, and what an earlier batch left there."""

import fnmatch
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from bgexp.batch.input_files import InputFiles, find_input
from bgexp.batch.journal import Record, read_journal
from bgexp.batch.output_paths import MASKS, OUTLIER, REGULAR
from bgexp.batch.planned_file import PlannedFile
from bgexp.config.batch import BatchSettings
from bgexp.config.check import flatten
from bgexp.errors import UserError
from bgexp.system.atomic import TEMPORARY, write_json
from bgexp.system.inside import is_inside, remove_inside

STATE = ".bgexp"  # the folder inside the output that holds journal and lock
JOURNAL = "journal.jsonl"
TREES = (REGULAR, OUTLIER, MASKS)
_SHOWN = 5  # settings or names in a message


def resolve_places(settings: BatchSettings) -> tuple[InputFiles, Path]:
    """Return the input, and the absolute folder of the output.

    Raises:
        UserError: There is no input, or the results would mix with it.
    """
    source, output = find_input(settings.input), Path(os.path.realpath(settings.output))
    trees = [output, *(output / name for name in (*TREES, STATE))]
    for folder in source.folders:
        if folder in trees or any(tree in folder.parents for tree in trees[1:]):
            raise UserError(f"output: {output} would mix its results with the input {folder}")
    return source, output


@contextmanager
def lock_output(output: Path) -> Iterator[None]:
    """Make the folder and keep other batches out of it; a dead one's lock does not hold.

    Raises:
        UserError: Another batch works there, or it cannot be written to.
    """
    state = output / STATE
    _refuse_links(output, [STATE, *(f"{STATE}/{name}" for name in (JOURNAL, "lock")), *TREES])
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = FileLock(state / "lock")
        lock.acquire(timeout=0)
        write_json(state / "owner.json", {"pid": os.getpid(), "host": socket.gethostname()})
    except Timeout:
        raise UserError(f"output: {output}: {_describe_owner(state)} works there") from None
    except OSError as error:
        raise UserError(f"output: {output}: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            (state / "owner.json").unlink()
        lock.release()


def _refuse_links(output: Path, names: Iterable[str]) -> None:
    """Refuse links where a batch writes: what they lead to is not its own."""
    for name in names:
        if (output / name).is_symlink():
            raise UserError(
                f"output: {output / name} is a link, and nothing is written through one "
                "(remove it, or choose another folder)"
            )


def _describe_owner(state: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        owner = json.loads((state / "owner.json").read_text())
        return f"process {owner['pid']} on {owner['host']}"
    return "another batch"


def read_earlier_records(
    output: Path,
    identity: Mapping[str, Any],
    planned: Sequence[PlannedFile],
    settings: BatchSettings,
) -> tuple[dict[str, Record], int]:
    """Return an earlier batch's records by path, and how many lines of them were damaged.

    Raises:
        UserError: There are results of other settings, of another input or of no record, and
            neither overwrite nor, for the input, moved_input is set.
    """
    folders = {str(parent) for file in planned for parent in PurePosixPath(file.output).parents}
    folders |= {str(parent) for file in planned for parent in PurePosixPath(file.mask).parents}
    _refuse_links(output, sorted(folders - {"."}))
    old, records, damaged = read_journal(output / STATE / JOURNAL)
    for name in (name for record in records.values() for name in (record.output, record.mask)):
        if name and not (is_inside(name) and name.partition("/")[0] in TREES):
            raise UserError(
                f"output: {output / STATE / JOURNAL} names {name!r}, which is no result in this "
                "folder: choose another folder, or delete that file"
            )
    if settings.overwrite:
        return records, damaged
    if old is None and not records:
        unrecorded = [name for name in TREES if _has_files(output / name)]
        if unrecorded:
            raise UserError(
                f"output: {output / unrecorded[0]} holds files that no batch has recorded: choose "
                "another folder, or overwrite=true"
            )
    if old is not None:
        _refuse_other_settings(output, old, identity, settings.moved_input)
    planned_paths = {file.path for file in planned}
    lost = sorted(
        path for path, record in records.items() if record.output and path not in planned_paths
    )
    if lost:
        raise UserError(
            f"output: {output} holds {len(lost)} results of files that are no longer in the input "
            f"({', '.join(map(repr, lost[:_SHOWN]))}): put them back, choose another folder, or "
            "overwrite=true, which deletes those results"
        )
    return records, damaged


def _refuse_other_settings(
    output: Path, old: Mapping[str, Any], new: Mapping[str, Any], moved_input: bool
) -> None:
    from_here = {**old, "input": new["input"]}
    is_moved = from_here == dict(new)
    if old != dict(new) and not (moved_input and is_moved):
        advice = "moved_input=true if that folder was moved, " if is_moved else ""
        raise UserError(
            f"output: {output} holds results of other settings: {_list_changes(old, new)}; "
            f"{advice}choose another folder, or overwrite=true"
        )


def _has_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.rglob("*"))


def _list_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = flatten(old), flatten(new)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    # Where another choice of a group was made, its name says all: its other settings differ, too.
    groups = tuple(key.removesuffix("name") for key in keys if key.endswith(".name"))
    keys = [key for key in keys if key.endswith(".name") or not key.startswith(groups)]
    names = {key: key.removesuffix(".name") for key in keys[:_SHOWN]}
    changes = [f"{name} was {before.get(key)}, is {after.get(key)}" for key, name in names.items()]
    return ", ".join(changes) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def remove_temporary(output: Path) -> None:
    """Delete what killed batches may have left half-written."""
    for folder, inner, names, descriptor in os.fwalk(output):  # which follows no link
        if folder == str(output):
            inner[:] = [name for name in inner if name in (STATE, *TREES)]
        for name in fnmatch.filter(names, TEMPORARY):
            os.unlink(name, dir_fd=descriptor)


def remove_stale(output: Path, earlier: Iterable[Record], now: Iterable[Record]) -> int:
    """Delete results of an earlier batch that no record names any more; return how many.

    A file that is not what was recorded is somebody else's by now and stays.
    """
    current_names = {name for record in now for name in (record.output, record.mask)}
    removed = 0
    for record in earlier:
        hashes = {record.output: record.output_sha256, record.mask: record.mask_sha256}
        for name, sha256 in hashes.items():
            if name and name not in current_names:
                removed += remove_inside(output, name, sha256)
    return removed
