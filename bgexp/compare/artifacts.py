"""The page of a comparison: its pictures, drawn from the runs' files."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bgexp.compare.comparison import Comparison
from bgexp.compare.page import render_compare
from bgexp.datasets.read import Dataset, read_dataset
from bgexp.errors import UserError
from bgexp.sweep.artifacts import draw_variants
from bgexp.sweep.page import choose_disagreeing, choose_variants
from bgexp.tracking.run_folder import MASKS, RunFolder

MAX_IMAGES = 8  # images on which the runs disagree most
Pictures = dict[str, dict[str, NDArray[np.uint8]]]


def draw_comparison(
    folder: RunFolder, comparison: Comparison, settings: Mapping[str, Any], links: Mapping[str, str]
) -> None:
    """Write the page into the folder; links are files beside it."""
    pages = {
        name: os.path.relpath(run.page, folder.path)
        for name, run in comparison.folders.items()
        if run.page.is_file()
    }
    when = datetime.now().astimezone()
    page = render_compare(comparison, settings, _draw_pictures(comparison), when, pages, links)
    folder.write_page(page)


def _draw_pictures(comparison: Comparison) -> Pictures:
    """Draw images that did not change since the runs; {} where they, or the masks, are gone."""
    names = {comparison.baseline, *(run.name for run in choose_variants(comparison.runs))}
    folders = {
        run.name: comparison.folders[run.name]
        for run in comparison.runs
        if run.name in names and comparison.folders[run.name].has(MASKS)
    }
    paths = choose_disagreeing(comparison.runs, MAX_IMAGES)
    with suppress(UserError, OSError):
        settings = comparison.folders[comparison.baseline].read_settings()
        dataset = _drop_changed_images(read_dataset(settings.dataset, settings.seed), comparison)
        return draw_variants(paths, folders, dataset, settings.dataset.max_megapixels)
    return {}


def _drop_changed_images(dataset: Dataset, comparison: Comparison) -> Dataset:
    """Return the dataset with only the images whose contents are those of the runs."""
    rows = comparison.runs[0].rows
    images = set(zip(rows["path"], rows["sha256"], strict=True))
    items = tuple(item for item in dataset.items if (item.path, item.sha256) in images)
    return replace(dataset, items=items)
