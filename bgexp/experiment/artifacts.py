"""What is drawn when a run has ended: samples and page, from its files."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bgexp.config.run import RunSettings
from bgexp.datasets.read import Dataset
from bgexp.experiment.findings import find_run_findings
from bgexp.experiment.gallery import choose_gallery, draw_picture
from bgexp.experiment.page import render_run
from bgexp.experiment.sample_picture import draw_sample
from bgexp.experiment.saved_masks import read_masked_images
from bgexp.images.png import encode_png
from bgexp.system.addresses import make_artifact_name
from bgexp.tracking.run_folder import ALPHAS, CONFIG, LOG, MASKS, ROWS, SAMPLES, SUMMARY, RunFolder

_FEW, _MANY = 18, 96  # images on the page of a small run, and of a large one
_SHARE = 50  # one in so many is shown, between these
LINKS = (SUMMARY, ROWS, MASKS, ALPHAS, SAMPLES, CONFIG, LOG)


def draw_run(
    folder: RunFolder,
    summary: Mapping[str, Any],
    dataset: Dataset,
    settings: RunSettings,
    when: datetime,
) -> None:
    """Write the samples and the page of a run from its rows and masks.

    Images are read anew: which are the worst is known only at the end. One that changed or
    vanished meanwhile is shown nowhere.
    """
    rows = folder.read_rows()
    config = settings.model_dump(mode="json")
    count = min(max(_FEW, len(rows) // _SHARE), _MANY)
    choices = choose_gallery(rows, count, find_run_findings(rows, summary, config))
    numbers = {choice.path: n for n, choice in enumerate(choose_gallery(rows, settings.samples), 1)}
    pictures = {}
    paths = dict.fromkeys([*numbers, *(choice.path for choice in choices)])
    for masked in read_masked_images(paths, [folder], dataset, settings.dataset.max_megapixels):
        path, mask, truth = masked.item.path, masked.masks[folder], masked.truth
        planes = (truth.foreground, truth.void) if truth else (None, None)
        if path in numbers:
            # A name has up to 255 bytes, a character up to 4 of them.
            name = f"{numbers[path]:02d}-{make_artifact_name(Path(path).name[:60])}.png"
            sample = draw_sample(masked.image, mask, *planes)
            folder.write_sample(name, encode_png(sample))
        for choice in (choice for choice in choices if choice.path == path):
            pictures[choice] = draw_picture(
                choice, masked.image, mask, planes[0], settings.cutout, planes[1]
            )
    gallery = [pictures[choice] for choice in choices if choice in pictures]
    links = {name: name for name in LINKS if name == SUMMARY or folder.has(name)}
    folder.write_page(render_run(summary, config, rows, gallery, when=when, links=links))
