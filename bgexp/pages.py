"""What is drawn when a run or a sweep has ended: samples/ and report.html, from its files."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bgexp.config import RunSettings
from bgexp.dataset import Dataset, read_dataset
from bgexp.errors import UserError
from bgexp.files import write_whole
from bgexp.findings import Job, job_names, run_findings
from bgexp.png import encode_png
from bgexp.report import (
    choose_disagreeing,
    choose_gallery,
    choose_variants,
    draw_cutout,
    draw_picture,
    render_run,
    render_sweep,
)
from bgexp.samples import draw_sample
from bgexp.shown import reread

PAGE = "report.html"
GALLERY, DISAGREEING = 18, 6  # images on the page of a run, and of a sweep
LINKS = ("summary.json", "per_image.parquet", "masks.zip", "samples", "config.yaml", "log.txt")


def draw_run(
    folder: Path,
    summary: Mapping[str, Any],
    dataset: Dataset,
    settings: RunSettings,
    when: datetime,
) -> None:
    """Writes samples/ and report.html of a run from its rows and masks.

    Images are read anew: which are the worst is known only at the end. One that changed or
    vanished meanwhile is shown nowhere.
    """
    rows = pd.read_parquet(folder / "per_image.parquet")
    plain = settings.model_dump(mode="json")
    listed = choose_gallery(rows, GALLERY, run_findings(rows, summary, plain))
    numbers = {choice.path: n for n, choice in enumerate(choose_gallery(rows, settings.samples), 1)}
    pictures = {}
    background = settings.cutout.background
    wanted = dict.fromkeys([*numbers, *(choice.path for choice in listed)])
    for shown in reread(wanted, [folder], dataset, settings.dataset.max_megapixels):
        path, mask = shown.item.path, shown.masks[folder]
        if path in numbers:
            # A name has up to 255 bytes, a character up to 4 of them.
            name = f"{numbers[path]:02d}-{Path(path).name[:60]}.png"
            drawn = draw_sample(shown.image, mask, shown.truth)
            write_whole(folder / "samples" / name, encode_png(drawn))
        for choice in (choice for choice in listed if choice.path == path):
            pictures[choice] = draw_picture(choice, shown.image, mask, shown.truth, background)
    drawn_ones = [pictures[choice] for choice in listed if choice in pictures]
    links = {name: name for name in LINKS if name == "summary.json" or (folder / name).exists()}
    write_whole(folder / PAGE, render_run(summary, plain, rows, drawn_ones, when=when, links=links))


def draw_sweep(
    folder: Path, settings: RunSettings, folders: Sequence[Path], when: datetime
) -> None:
    """Writes report.html of a sweep, with the images on which its jobs disagree most.

    Args:
        folder: Of the sweep.
        settings: Of one of its jobs, for where the images are.
        folders: Of its jobs.
        when: When it began.
    """
    jobs, place = _jobs(folder, folders)
    variants = {job.name: place[job.name] for job in choose_variants(jobs)}
    paths = choose_disagreeing(jobs, DISAGREEING)
    pictures = {}
    with suppress(UserError):  # the images are gone: a page without pictures
        dataset = read_dataset(settings.dataset, settings.seed)
        pictures = draw_variants(paths, variants, dataset, settings.dataset.max_megapixels)
    page = render_sweep(
        f"Sweep {folder.name}", jobs, pictures, when=when, links={"jobs.csv": "jobs.csv"}
    )
    write_whole(folder / PAGE, page)


def draw_variants(
    paths: Sequence[str], variants: Mapping[str, Path], dataset: Dataset, max_megapixels: float
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """For each image its small pictures, HxWx3 uint8 RGB: "original", and a cut-out a variant.

    Args:
        paths: The images; one that changed or vanished is left out.
        variants: By name, the folder of the run that made the masks.
        dataset: Where the images are.
        max_megapixels: Larger images are left out.
    """
    pictures = {}
    for shown in reread(paths, list(variants.values()), dataset, max_megapixels):
        cutouts = {
            name: draw_cutout(shown.image, shown.masks[folder]) for name, folder in variants.items()
        }
        original = draw_cutout(shown.image, np.ones(shown.image.shape[:2], np.bool_))
        pictures[shown.item.path] = {"original": original, **cutouts}
    return pictures


def _jobs(folder: Path, folders: Sequence[Path]) -> tuple[list[Job], dict[str, Path]]:
    """The jobs as a page shows them, and the folder of each by its name there."""
    overrides = [json.loads((job / "overrides.json").read_text()) for job in folders]
    names = job_names(overrides)
    jobs = []
    for name, given, job in zip(names, overrides, folders, strict=True):
        rows = job / "per_image.parquet"
        table = pd.read_parquet(rows) if rows.exists() else pd.DataFrame()
        page = job / PAGE
        link = page.relative_to(folder).as_posix() if page.exists() else ""
        summary = json.loads((job / "summary.json").read_text())
        jobs.append(Job(name, given, summary, table, link))
    return jobs, dict(zip(names, folders, strict=True))
