"""What a batch leaves behind besides its results and their manifest: summary and page."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bgexp.batch.dispatch import PartsWork
from bgexp.batch.manifest import CSV, PARQUET, read_manifest
from bgexp.batch.page import list_most_doubtful, render_batch
from bgexp.batch.planned_batch import PlannedBatch
from bgexp.batch.summary import build_summary
from bgexp.images.decode import ImageError, decode_image, make_thumbnail, read_bytes
from bgexp.report.pictures import PANEL
from bgexp.system.atomic import encode_json
from bgexp.tracking.run_folder import PAGE, SUMMARY

REPORTS = (SUMMARY, PAGE, PARQUET, CSV)
SHOWN = 24
_THREADS = 2  # decoders release the GIL; more threads would hold more images in memory at once
# What the page and the summary go by; the hashes of all images are held in memory by nobody.
_COLUMNS = (
    *("path", "category", "status", "reason", "output", "kind", "quality_issues"),
    *("missing_metadata", "handling", "settings_hash", "coverage", "confidence", "flags"),
    *("timings_ms", "memory"),
)


def write_reports(
    batch: PlannedBatch, work: PartsWork, began: datetime, seconds: float
) -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], None]]:
    """Write summary and page of a batch whose manifest is there.

    Returns:
        The summary, and the function that writes the page again for another summary.
    """
    output = batch.output
    rows = read_manifest(output, _COLUMNS)
    summary = build_summary(batch, rows, seconds, work.load, work.newly_done)
    draw_page = _prepare_page(batch, rows.drop(columns="timings_ms"), began)
    draw_page(summary)
    write_summary(batch, summary)  # last: where it is, all else is
    return summary, draw_page


def write_summary(batch: PlannedBatch, summary: Mapping[str, Any]) -> None:
    """Write summary.json."""
    batch.output.write(SUMMARY, encode_json(dict(summary)))


def _prepare_page(
    batch: PlannedBatch, rows: pd.DataFrame, began: datetime
) -> Callable[[Mapping[str, Any]], None]:
    """Return the function that writes report.html; an image that cannot be read is left out."""
    output, settings = batch.output, batch.settings
    paths = list_most_doubtful(rows, SHOWN)
    outputs = dict(rows.set_index("path").loc[paths, "output"])
    files = {file.path: file.file for file in batch.folder.walk() if file.path in outputs}

    def make_picture(data: bytes) -> NDArray[np.uint8]:
        return make_thumbnail(decode_image(data, settings.max_megapixels), PANEL)

    def load_pair(path: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        with suppress(ImageError, MemoryError, OSError):
            before = make_picture(read_bytes(files[path]))
            return before, make_picture(output.read(outputs[path]))
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        pairs = zip(paths, pool.map(load_pair, paths), strict=True)
        thumbnails = {path: pair for path, pair in pairs if pair}
    links = {name: name for name in (SUMMARY, PARQUET, CSV)}
    values = settings.model_dump(mode="json")

    def draw_page(summary: Mapping[str, Any]) -> None:
        page = render_batch(summary, values, rows, thumbnails, began, links)
        output.write(PAGE, page)

    return draw_page
