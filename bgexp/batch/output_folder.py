"""The output folder: whose it is, who works in it now, and what an earlier batch left there."""

import fcntl
import fnmatch
import os
import socket
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self

from bgexp.batch.input_files import Input, find_input
from bgexp.batch.journal import Record
from bgexp.batch.output_paths import TREES
from bgexp.batch.plan_folder import PLAN, STATE
from bgexp.batch.store_lock import StoreLock
from bgexp.config.batch import BatchSettings
from bgexp.config.check import flatten
from bgexp.errors import UserError
from bgexp.system.atomic import TEMPORARY, make_folder, write_json
from bgexp.system.folders import Folder, LocalFolder, StoreFolder, locate_error, open_folder
from bgexp.system.signals import StopRequest
from bgexp.system.state_files import decode_json, read_state
from bgexp.system.stores import Address, find_object

LOCK, OWNER = "lock", "owner.json"
_SHOWN = 5  # settings or names in a message


def resolve_places(settings: BatchSettings) -> tuple[Input, Folder]:
    """Return the input, and the output folder.

    Raises:
        UserError: There is no input, or the results would mix with it.
    """
    source, place = find_input(settings.input), settings.output
    output = open_folder(place if isinstance(place, Address) else Path(os.path.realpath(place)))
    trees = [PurePosixPath(str(output), name) for name in ("", *TREES, STATE)]
    for folder in source.folders:
        path = PurePosixPath(folder)
        if path in trees or any(tree in path.parents for tree in trees[1:]):
            raise UserError(f"output: {output} would mix its results with the input {folder}")
    if isinstance(place, Address):
        _refuse_unreachable(place)
    return source, output


def _refuse_unreachable(address: Address) -> None:
    """Raise UserError where a store does not answer or refuses, before minutes of tries."""
    try:
        find_object(address / PLAN, patiently=False)
    except OSError as error:
        raise UserError(f"output: {address}: {error.strerror}") from error


class OutputLock(Protocol):
    """The hold of one batch on its output, alone or beside others; a dead one's does not count."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...

    def hold_alone(self) -> None:
        """Keep all others out.

        Raises:
            UserError: Another batch works there, or the folder cannot be written to.
        """
        ...

    def try_to_hold(self, *, alone: bool, to_plan: bool = False) -> bool:
        """Hold the output, alone or beside others that do not, if that is free.

        Args:
            alone: Whether all others are kept out.
            to_plan: Whether that is for the time of planning only.
        """
        ...

    def is_held_to_plan(self) -> bool:
        """Return whether who holds it alone only plans."""
        ...


def open_lock(output: Folder, stop: StopRequest) -> OutputLock:
    """Open the lock of an output, which nobody holds yet; a hold that is lost stops the work.

    Raises:
        UserError: The output cannot be written to, or is a link.
    """
    if isinstance(output, LocalFolder):
        return LocalLock(output)
    assert isinstance(output, StoreFolder)
    return StoreLock(output, stop)


class LocalLock:
    """The lock of a folder: a file's, which the system lets go with its process."""

    def __init__(self, output: LocalFolder) -> None:
        """Make the folder and open the lock.

        Raises:
            UserError: It cannot be written to, or is a link.
        """
        self._output, self._state = output, output.path / STATE
        refuse_links(output, [STATE, PLAN, f"{STATE}/{LOCK}", *TREES])
        try:
            make_folder(self._state)
            # Without O_NONBLOCK a pipe of that name would be waited for.
            flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK
            self._file = os.open(self._state / LOCK, flags, 0o666)
        except OSError as error:
            raise UserError(f"output: {locate_error(output, error)}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._file)

    def hold_alone(self) -> None:
        """Keep all others out."""
        if not self.try_to_hold(alone=True):
            raise UserError(f"output: {self._output}: {self._describe_owner()} works there")

    def try_to_hold(self, *, alone: bool, to_plan: bool = False) -> bool:
        """Hold the output if that is free."""
        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if alone:
                owner = {"pid": os.getpid(), "host": socket.gethostname(), "plans": to_plan}
                write_json(self._state / OWNER, owner)
        except BlockingIOError:
            return False
        except OSError as error:
            place = locate_error(self._output, error)
            raise UserError(f"output: {place}: {error.strerror}") from error
        return True

    def is_held_to_plan(self) -> bool:
        """Return whether who holds it alone only plans."""
        with suppress(OSError, ValueError, AttributeError):
            return bool(decode_json(read_state(self._state / OWNER)).get("plans"))
        return False

    def _describe_owner(self) -> str:
        with suppress(OSError, ValueError, KeyError, TypeError):
            owner = decode_json(read_state(self._state / OWNER))
            return f"process {owner['pid']} on {owner['host']}"
        return "another batch"


def refuse_links(output: Folder, names: Iterable[str]) -> None:
    """Refuse links where a batch writes: what they lead to is not its own."""
    if not isinstance(output, LocalFolder):
        return
    for name in names:
        if (output.path / name).is_symlink():
            raise UserError(
                f"output: {output}/{name} is a link, and nothing is written through one "
                "(remove it, or choose another folder)"
            )


def refuse_other_settings(
    output: Folder, old: Mapping[str, Any], new: Mapping[str, Any], moved_input: bool
) -> None:
    """Refuse results of other settings, or of another input that is not told to be the same.

    Raises:
        UserError: There are some; the message names what differs.
    """
    from_here = {**old, "input": new["input"]}
    is_moved = from_here == dict(new)
    if old != dict(new) and not (moved_input and is_moved):
        advice = "moved_input=true if that folder was moved, " if is_moved else ""
        raise UserError(
            f"output: {output} holds results of other settings: {_list_changes(old, new)}; "
            f"{advice}choose another folder, or overwrite=true"
        )


def refuse_unrecorded(output: Folder) -> None:
    """Refuse results that are of no plan."""
    for name in TREES:
        if output.has_files(name):
            raise UserError(
                f"output: {output}/{name} holds files that no batch has recorded: choose another "
                "folder, or overwrite=true"
            )


def _list_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = flatten(old), flatten(new)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    # Where another choice of a group was made, its name says all: its other settings differ, too.
    groups = tuple(key.removesuffix("name") for key in keys if key.endswith(".name"))
    keys = [key for key in keys if key.endswith(".name") or not key.startswith(groups)]
    names = {key: key.removesuffix(".name") for key in keys[:_SHOWN]}
    changes = [f"{name} was {before.get(key)}, is {after.get(key)}" for key, name in names.items()]
    return ", ".join(changes) + (f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else "")


def remove_temporary(output: Folder) -> None:
    """Delete what killed batches may have left half-written; in an object store that is nothing."""
    if not isinstance(output, LocalFolder):
        return
    for folder, inner, names, descriptor in os.fwalk(output.path):  # which follows no link
        if folder == str(output):
            inner[:] = [name for name in inner if name in (STATE, *TREES)]
        for name in fnmatch.filter(names, TEMPORARY):
            os.unlink(name, dir_fd=descriptor)


def remove_superseded(
    output: Folder, superseded: Iterable[Record], current_names: Container[str]
) -> int:
    """Delete results that no row names any more; return how many.

    A file that is not what was recorded is somebody else's by now and stays.
    """
    hashes = {
        name: sha256
        for record in superseded
        for name, sha256 in record.results.items()
        if name not in current_names
    }
    return sum(output.remove(name, sha256) for name, sha256 in hashes.items())
