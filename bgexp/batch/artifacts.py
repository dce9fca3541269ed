"""The page of a batch, drawn from its manifest and its files."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgexp.batch.journal import Record
from bgexp.batch.manifest import CSV, PARQUET, manifest_table
from bgexp.batch.page import most_doubtful, render_batch
from bgexp.config.batch import BatchSettings
from bgexp.images.decode import ImageError, load_image, thumbnail
from bgexp.report.gallery import PANEL
from bgexp.system.atomic import write_whole

PAGE = "report.html"
SHOWN = 24
_THREADS = 2  # decoders let go of the interpreter; more would hold more pictures at once


def draw_batch(
    output: Path,
    settings: BatchSettings,
    summary: Mapping[str, Any],
    records: Sequence[Record],
    files: Mapping[str, Path],
    began: datetime,
) -> None:
    """Writes report.html; a picture that cannot be read any more is left out.

    Args:
        output: The output folder.
        settings: Of the batch.
        summary: As summary.json holds it.
        records: A row an input.
        files: Of the inputs, absolute, by path.
        began: When the batch did.
    """
    rows = manifest_table(records)
    outputs = {record.path: output / record.output for record in records if record.output}
    shown = most_doubtful(rows, SHOWN)

    def small(file: Path) -> NDArray[np.uint8]:
        return thumbnail(load_image(file, settings.max_megapixels), PANEL)

    def pair(path: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        with suppress(ImageError, MemoryError):
            return small(files[path]), small(outputs[path])
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        pairs = zip(shown, pool.map(pair, shown), strict=True)
        pictures = {path: found for path, found in pairs if found}
    links = {name: name for name in ("summary.json", PARQUET, CSV)}
    page = render_batch(summary, settings.model_dump(mode="json"), rows, pictures, began, links)
    write_whole(output / PAGE, page)
