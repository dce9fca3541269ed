"""The page of a batch, drawn from its manifest and its files."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from bgexp.batch.journal import Record
from bgexp.batch.manifest import CSV, PARQUET, manifest_table
from bgexp.config import BatchSettings
from bgexp.files import write_whole
from bgexp.images import ImageError, load_image, thumbnail
from bgexp.report.batch import most_doubtful, render_batch
from bgexp.report.gallery import PANEL

PAGE = "report.html"
SHOWN = 24


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
    pictures = {}
    for path in most_doubtful(rows, SHOWN):
        with suppress(ImageError, MemoryError):
            pair = (
                load_image(one, settings.max_megapixels) for one in (files[path], outputs[path])
            )
            original, result = (thumbnail(image, PANEL) for image in pair)
            pictures[path] = (original, result)
    links = {name: name for name in ("summary.json", PARQUET, CSV)}
    page = render_batch(summary, settings.model_dump(mode="json"), rows, pictures, began, links)
    write_whole(output / PAGE, page)
