"""`bgexp export`: what a run found as a first draft for a labelling tool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bgexp.config.export import ExportSettings
from bgexp.errors import UserError
from bgexp.exchange.draft import Draft
from bgexp.exchange.write_drafts import refuse_used, write_drafts
from bgexp.images.decode import ImageError
from bgexp.system.progress import Step, show_progress
from bgexp.system.stores import Address, locate_recorded
from bgexp.system.terminal import make_printable
from bgexp.tracking.past_runs import StoredRun, find_runs


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        run: The run.
        file: The annotation file; of PNG masks their folder.
        images: Where the images lie that the names in the file are relative to.
        n_images: Images with a mask, be it empty.
        n_without: Images of the run that have none.
    """

    run: StoredRun
    file: Path
    images: Path | Address
    n_images: int
    n_without: int


def export_run(settings: ExportSettings, folder: Path) -> Export:
    """Write the masks of a run as annotations.

    Args:
        settings: The command's settings.
        folder: Where the output goes if the settings name none.

    Raises:
        UserError: No run or several are meant, its masks are gone, or the output is not empty.
    """
    output = (settings.output or folder).resolve()
    refuse_used(output)
    run = _find_run(settings)
    rows = run.rows
    paths = list(rows["path"][rows["status"] == "ok"]) if len(rows) else []
    if not paths:
        raise UserError(f"run {run.run_id[:8]} has no masks")
    try:
        with show_progress("images", len(paths)) as step:
            drafts = _read_drafts(run, paths, step)
            images = locate_recorded(run.summary["dataset"]["root"])
            file = write_drafts(drafts, output, settings.format, settings.polygons, images.name)
    except OSError as error:
        raise UserError(f"output: {error.filename or output}: {error.strerror}") from error
    return Export(run, file, images, len(paths), len(rows) - len(paths))


def _find_run(settings: ExportSettings) -> StoredRun:
    runs = find_runs(settings, settings.runs, settings.filter)
    if len(runs) > 1:
        ids = ", ".join(run.run_id[:8] for run in runs[:4])
        raise UserError(f"runs: {len(runs)} runs are meant; give the id of one ({ids} …)")
    return runs[0]


def _read_drafts(run: StoredRun, paths: list[str], step: Step) -> Iterator[Draft]:
    try:
        with run.folder.open_masks() as masks:
            for path in paths:
                yield Draft(path, masks.read(path))
                step(0)
    except (OSError, ImageError) as error:
        raise UserError(
            f"run {run.run_id[:8]}: its masks cannot be read: {make_printable(error)} "
            f"(bgexp verify {run.folder.path} tells more)"
        ) from error
