"""What is drawn when a run or a sweep has ended: samples/ and report.html, from its files."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from bgexp.config.run import RunSettings
from bgexp.datasets.read import Dataset
from bgexp.experiment.findings import run_findings
from bgexp.experiment.page import render_run
from bgexp.experiment.results import PAGE
from bgexp.experiment.saved_masks import read_masked_images
from bgexp.images.png import encode_png
from bgexp.report.gallery import choose_gallery, draw_picture
from bgexp.report.panels import draw_sample
from bgexp.system.atomic import write_whole

MAX_PICTURES = 18  # images on the page of a run
LINKS = ("summary.json", "per_image.parquet", "masks.zip", "samples", "config.yaml", "log.txt")


def draw_run(
    folder: Path,
    summary: Mapping[str, Any],
    dataset: Dataset,
    settings: RunSettings,
    when: datetime,
) -> None:
    """Write samples/ and report.html of a run from its rows and masks.

    Images are read anew: which are the worst is known only at the end. One that changed or
    vanished meanwhile is shown nowhere.
    """
    rows = pd.read_parquet(folder / "per_image.parquet")
    config = settings.model_dump(mode="json")
    choices = choose_gallery(rows, MAX_PICTURES, run_findings(rows, summary, config))
    numbers = {choice.path: n for n, choice in enumerate(choose_gallery(rows, settings.samples), 1)}
    pictures = {}
    background = settings.cutout.background
    paths = dict.fromkeys([*numbers, *(choice.path for choice in choices)])
    for masked in read_masked_images(paths, [folder], dataset, settings.dataset.max_megapixels):
        path, mask = masked.item.path, masked.masks[folder]
        if path in numbers:
            # A name has up to 255 bytes, a character up to 4 of them.
            name = f"{numbers[path]:02d}-{Path(path).name[:60]}.png"
            sample = draw_sample(masked.image, mask, masked.truth)
            write_whole(folder / "samples" / name, encode_png(sample))
        for choice in (choice for choice in choices if choice.path == path):
            pictures[choice] = draw_picture(choice, masked.image, mask, masked.truth, background)
    gallery = [pictures[choice] for choice in choices if choice in pictures]
    links = {name: name for name in LINKS if name == "summary.json" or (folder / name).exists()}
    write_whole(folder / PAGE, render_run(summary, config, rows, gallery, when=when, links=links))
