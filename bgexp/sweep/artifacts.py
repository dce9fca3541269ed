"""What a sweep leaves behind: its page, and the jobs side by side."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from bgexp.config.run import RunSettings
from bgexp.datasets.read import Dataset, read_dataset
from bgexp.errors import UserError
from bgexp.experiment.saved_masks import read_masked_images
from bgexp.report.pictures import draw_cutout
from bgexp.sweep.effects import name_jobs
from bgexp.sweep.page import choose_disagreeing, choose_variants, render_sweep
from bgexp.sweep.run_result import RunResult
from bgexp.tracking.run_folder import RunFolder

JOBS = "jobs.csv"  # in the sweep's folder
MAX_IMAGES = 6  # images on the page of a sweep


def draw_sweep(
    folder: RunFolder, settings: RunSettings, folders: Sequence[RunFolder], when: datetime
) -> None:
    """Write the page of a sweep, with the images on which its jobs disagree most.

    Args:
        folder: The folder of the sweep.
        settings: The settings of one job, for the dataset.
        folders: The folders of its jobs.
        when: When the sweep began.
    """
    jobs, folder_of = _read_jobs(folder, folders)
    variants = {job.name: folder_of[job.name] for job in choose_variants(jobs)}
    paths = choose_disagreeing(jobs, MAX_IMAGES)
    pictures = {}
    with suppress(UserError):  # the images are gone: a page without pictures
        dataset = read_dataset(settings.dataset, settings.seed)
        pictures = draw_variants(paths, variants, dataset, settings.dataset.max_megapixels)
    title, values = f"Sweep {folder.path.name}", settings.model_dump(mode="json")
    page = render_sweep(title, jobs, pictures, when, {JOBS: JOBS}, values)
    folder.write_page(page)


def draw_variants(
    paths: Sequence[str],
    variants: Mapping[str, RunFolder],
    dataset: Dataset,
    max_megapixels: float,
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Draw each image's small pictures, HxWx3 uint8 RGB: "original", and a cut-out a variant.

    Args:
        paths: The images; one that changed or vanished is left out.
        variants: By name, the folder of the run that made the masks.
        dataset: The dataset of the images.
        max_megapixels: Larger images are left out.
    """
    pictures = {}
    for entry in read_masked_images(paths, list(variants.values()), dataset, max_megapixels):
        cutouts = {
            name: draw_cutout(entry.image, entry.masks[folder]) for name, folder in variants.items()
        }
        original = draw_cutout(entry.image, np.ones(entry.image.shape[:2], np.bool_))
        pictures[entry.item.path] = {"original": original, **cutouts}
    return pictures


def _read_jobs(
    folder: RunFolder, folders: Sequence[RunFolder]
) -> tuple[list[RunResult], dict[str, RunFolder]]:
    """Read the jobs as a page shows them, and the folder of each by its name there."""
    overrides = [job.read_overrides() for job in folders]
    names = name_jobs(overrides)
    jobs = []
    for name, job_overrides, job in zip(names, overrides, folders, strict=True):
        link = job.page.relative_to(folder.path).as_posix() if job.page.exists() else ""
        jobs.append(RunResult(name, job_overrides, job.read_summary(), job.read_rows(), link))
    return jobs, dict(zip(names, folders, strict=True))
