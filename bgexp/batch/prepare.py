"""From settings to a planned batch: an earlier plan that still holds, or a new one."""

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bgexp.batch.artifacts import REPORTS
from bgexp.batch.drafts import draft_files
from bgexp.batch.engine import Engine
from bgexp.batch.input_files import Input
from bgexp.batch.journal import Origin, Record
from bgexp.batch.output_folder import (
    refuse_other_settings,
    refuse_unrecorded,
    remove_temporary,
)
from bgexp.batch.plan import plan_files
from bgexp.batch.plan_folder import (
    PART_FILES,
    Plan,
    PlanFolder,
    discard_plans,
    read_plan,
    use_plan,
    write_plan,
)
from bgexp.batch.planned_file import PlannedFile
from bgexp.config.batch import BatchSettings
from bgexp.errors import UserError
from bgexp.quality.table import describe_metadata_table, read_metadata_table
from bgexp.system.folders import Folder
from bgexp.system.hashing import hash_file
from bgexp.system.signals import StopRequest
from bgexp.tracking.run_folder import SUMMARY

_METADATA = "quality.metadata"  # the setting
_SHOWN = 5  # names in a message


def find_unfinished_plan(
    output: Folder, origin: Origin, metadata: dict[str, str]
) -> PlanFolder | None:
    """Return the plan of a batch that began the same work and did not come to its end."""
    folder = read_plan(output)
    if folder is None or output.holds([SUMMARY]):
        return None
    plan = folder.plan
    return folder if (plan.origin, plan.metadata) == (origin, metadata) else None


def prepare_plan(
    settings: BatchSettings,
    source: Input,
    output: Folder,
    origin: Origin,
    engine: Engine,
    stop: StopRequest,
) -> PlanFolder:
    """Return the plan of the batch, the output being held alone.

    A batch that was ended before its end goes on by its plan while the input has not changed. Any
    other gets a new one, in which the records of the last one count.

    Raises:
        UserError: The input cannot be listed, or the output holds results of other settings, of
            another input or of no record, and neither overwrite nor, for the input, moved_input
            is set.
        Interruption: A signal came.
    """
    metadata = describe_metadata(settings)
    remove_temporary(output)
    earlier = read_plan(output)
    if earlier is None and not settings.overwrite:
        refuse_unrecorded(output)
    elif earlier is not None and not settings.overwrite:
        old, new = earlier.plan.origin.provenance, origin.provenance
        refuse_other_settings(output, old, new, settings.moved_input)
    unfinished = find_unfinished_plan(output, origin, metadata)
    if unfinished and unfinished.is_of(source.walk(output, settings.follow_links)):
        return unfinished
    discard_plans(output, keep=earlier.plan.folder if earlier else "")
    records = earlier.walk_records() if earlier else ()
    plan = Plan(secrets.token_hex(4), origin, metadata)
    with plan_input(settings, source, output, engine, stop) as (planned, n_files):
        n_parts = max(math.ceil(n_files / PART_FILES), min(engine.least_parts, n_files))
        folder, lost = write_plan(output, plan, planned, n_files, n_parts, records)
    if lost and not settings.overwrite:
        _refuse_lost(output, lost)
    use_plan(folder)
    for name in REPORTS:  # those of the last batch give way to those to come
        output.discard(name)
    return folder


@contextmanager
def plan_input(
    settings: BatchSettings, source: Input, output: Folder, engine: Engine, stop: StopRequest
) -> Iterator[tuple[Iterator[PlannedFile], int]]:
    """List the input and read its headers; yield the planned files and their number.

    Raises:
        UserError: The input cannot be listed, or is empty, or the CSV of metadata is wrong.
        Interruption: A signal came.
    """
    file = _find_metadata_file(settings)
    with draft_files(settings, source, output, engine, stop) as drafts:
        paths = (draft.path for draft in drafts)
        table = read_metadata_table(file, paths, _METADATA)
        yield plan_files(drafts, settings, table), drafts.n_files


def describe_metadata(settings: BatchSettings) -> dict[str, str]:
    """Return the CSV that the quality rules need as a plan names it; {} where there is none."""
    if (file := _find_metadata_file(settings)) is None:
        return {}
    form = describe_metadata_table(file, _METADATA)["metadata"]
    try:
        return {**form, "sha256": hash_file(file)}
    except OSError as error:
        raise UserError(f"{_METADATA}: {file}: {error.strerror}") from error


def _find_metadata_file(settings: BatchSettings) -> Path | None:
    return settings.quality.metadata if settings.quality.enabled else None


def _refuse_lost(output: Folder, lost: Sequence[Record]) -> None:
    names = ", ".join(repr(record.path) for record in lost[:_SHOWN])
    raise UserError(
        f"output: {output} holds {len(lost)} results of files that are no longer in the input "
        f"({names}): put them back, choose another folder, or overwrite=true, which deletes those "
        "results"
    )
