"""What a batch leaves behind besides its results: manifest, summary, page."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bgexp.batch.journal import Record
from bgexp.batch.manifest import CSV, PARQUET, build_manifest, write_manifest
from bgexp.batch.output_folder import remove_stale, remove_temporary
from bgexp.batch.page import list_most_doubtful, render_batch
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.summary import build_summary
from bgexp.config.batch import BatchSettings
from bgexp.images.decode import ImageError, load_image, make_thumbnail
from bgexp.report.pictures import PANEL
from bgexp.system.progress import tell
from bgexp.tracking.run_folder import SUMMARY, RunFolder

if TYPE_CHECKING:
    from bgexp.detect.inference_server import ServerStats

SHOWN = 24
_THREADS = 2  # decoders release the GIL; more threads would hold more images in memory at once


def write_reports(
    batch: PlannedBatch,
    records: Sequence[Record],
    began: datetime,
    seconds: float,
    load: "ServerStats | None",
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], None]]:
    """Write manifest, summary and page, once every input is known to have its row.

    Returns:
        The summary, and the function that writes the page again for another summary.
    """
    if [file.path for file in batch.planned] != [record.path for record in records]:
        raise AssertionError(f"{len(batch.planned)} inputs, {len(records)} rows")
    output = batch.output
    if removed := remove_stale(output, batch.earlier.values(), records):
        tell(f"{removed} files of results that are out of date were deleted")
    write_manifest(records, output)
    reused = sum(
        record.status == "done" and record == batch.earlier.get(record.path) for record in records
    )
    summary = build_summary(batch, records, seconds, load, reused)
    RunFolder(output).write_summary(summary)
    files = {file.path: file.file for file in batch.planned}
    draw_page = _prepare_page(output, batch.settings, records, files, began)
    draw_page(summary)
    remove_temporary(output)
    return summary, draw_page


def _prepare_page(
    output: Path,
    settings: BatchSettings,
    records: Sequence[Record],
    files: Mapping[str, Path],
    began: datetime,
) -> Callable[[Mapping[str, Any]], None]:
    """Return the function that writes report.html; an image that cannot be read is left out.

    Args:
        output: The output folder.
        settings: The batch's settings.
        records: One record per input file.
        files: Absolute path of each input by its path relative to the input folder.
        began: When the batch began.
    """
    rows = build_manifest(records)
    outputs = {record.path: output / record.output for record in records if record.output}
    paths = list_most_doubtful(rows, SHOWN)

    def load_thumbnail(file: Path) -> NDArray[np.uint8]:
        return make_thumbnail(load_image(file, settings.max_megapixels), PANEL)

    def load_pair(path: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        with suppress(ImageError, MemoryError):
            return load_thumbnail(files[path]), load_thumbnail(outputs[path])
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        pairs = zip(paths, pool.map(load_pair, paths), strict=True)
        thumbnails = {path: pair for path, pair in pairs if pair}
    links = {name: name for name in (SUMMARY, PARQUET, CSV)}
    values = settings.model_dump(mode="json")

    def draw_page(summary: Mapping[str, Any]) -> None:
        page = render_batch(summary, values, rows, thumbnails, began, links)
        RunFolder(output).write_page(page)

    return draw_page
