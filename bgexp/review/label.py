"""Chooses the images to label, and writes them with masks to edit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bgexp.compare.comparable_runs import ComparableRuns, find_comparable_runs, read_fingerprints
from bgexp.config.check import flatten_settings
from bgexp.config.command_line import write_command, write_override
from bgexp.config.export import Format
from bgexp.config.review import SelectSettings
from bgexp.datasets.read import Item
from bgexp.errors import UserError
from bgexp.exchange.draft import Draft
from bgexp.exchange.write_drafts import name_mask, refuse_used, write_drafts
from bgexp.images.decode import ImageError, decode_mask, encode_mask, read_bytes
from bgexp.report.wording import format_count
from bgexp.review.label_sampling import (
    DISAGREEMENT,
    RANDOM,
    LabelCandidate,
    choose_images,
    find_consensus,
    measure_disagreement,
)
from bgexp.system.atomic import make_folder, write_whole
from bgexp.system.hashing import hash_bytes
from bgexp.system.progress import show_progress, tell
from bgexp.system.safe_csv import encode_safe_csv
from bgexp.system.terminal import make_printable
from bgexp.tracking.active_run import open_run
from bgexp.tracking.run_folder import open_masks
from bgexp.tracking.votes import COMPARED

TABLE, README = "selection.csv", "README.txt"


def select_images(settings: SelectSettings, folder: Path) -> tuple[Path, pd.DataFrame]:
    """Write random/ and disagreement/, each with images/ and masks/, selection.csv, README.txt.

    Args:
        settings: The command's settings.
        folder: The run's; the output goes there if the settings name none.

    Returns:
        The output folder, and a row for each image: path, category, why, initial_mask,
        disagreement, and initial_sha256, the hash of the mask as it was written.

    Raises:
        UserError: Fewer than two runs are meant, or the output is not empty.
    """
    output = (settings.output or folder).resolve()
    refuse_used(output)
    comparable = find_comparable_runs(settings)
    for line in [*comparable.left_out, comparable.reduced]:
        if line:
            tell(line)
    images = choose_images(_measure_disagreements(comparable), settings.n_images, settings.seed)
    make_folder(folder)
    with open_run(settings, "select", f"select {len(images)} images", folder) as run:
        run.log_params(flatten_settings(settings))
        run.set_tags({COMPARED: " ".join(r.run_id for r in comparable.runs)})
        rows = _write_images(images, comparable, output, settings.initial_mask)
        _write_annotations(rows, output, settings.format)
        write_whole(output / README, _format_readme(rows, settings).encode())
        write_whole(output / TABLE, encode_safe_csv(rows))
        run.log_file(output / TABLE)
        run.log_metrics({why: float((rows["why"] == why).sum()) for why in (RANDOM, DISAGREEMENT)})
    return output, rows


def _measure_disagreements(comparable: ComparableRuns) -> dict[str, float]:
    """Measure the disagreement by path; masks that are stored alike are not decoded."""
    by_path = read_fingerprints(comparable)
    scores = dict.fromkeys(by_path, 0.0)
    folders = [run.folder for run in comparable.runs]
    with open_masks(folders) as archives, show_progress("images", len(by_path)) as step:
        for path, marks in by_path.items():
            if len(set(marks)) > 1:
                scores[path] = measure_disagreement(archive.read(path) for archive in archives)
            step(0)
    return scores


def _write_images(
    images: Sequence[LabelCandidate], comparable: ComparableRuns, output: Path, initial_mask: str
) -> pd.DataFrame:
    items = {item.path: item for item in comparable.dataset.items}
    rows = []
    with open_masks(run.folder for run in comparable.runs) as archives:
        for image in images:
            masks = [archive.read(image.path) for archive in archives]
            mask = find_consensus(masks) if initial_mask == "consensus" else np.zeros_like(masks[0])
            rows.append(
                _write_image(image, items[image.path], mask, output / image.why)
                | {"initial_mask": initial_mask}
            )
    columns = ["path", "category", "why", "initial_mask", "disagreement", "initial_sha256"]
    return pd.DataFrame(rows, columns=columns)


def _write_image(
    candidate: LabelCandidate, item: Item, mask: NDArray[np.bool_], folder: Path
) -> dict[str, object]:
    data = encode_mask(mask)
    try:
        image = read_bytes(item.file)
        write_whole(folder / "images" / item.path, image)
        write_whole(folder / "masks" / name_mask(item.path), data)
    except (ImageError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"output: {make_printable(item.path)}: {reason}") from error
    return {
        "path": candidate.path,
        "category": item.category,
        "why": candidate.why,
        "disagreement": round(candidate.disagreement, 4),
        "initial_sha256": hash_bytes(data),
    }


def _write_annotations(rows: pd.DataFrame, output: Path, kind: Format) -> None:
    """Write the masks to edit for a labelling tool as well, those of each folder by themselves."""
    if kind == "png":
        return
    for why, paths in rows.groupby("why")["path"]:
        folder = output / str(why)
        drafts = (
            Draft(path, decode_mask((folder / "masks" / name_mask(path)).read_bytes()))
            for path in paths
        )
        write_drafts(drafts, folder, kind, False, "images")


def _format_readme(rows: pd.DataFrame, settings: SelectSettings) -> str:
    counts = rows["why"].value_counts()
    n_random, n_disagreement = int(counts.get(RANDOM, 0)), int(counts.get(DISAGREEMENT, 0))
    return f"""\
1. Edit the PNG files in random/masks and disagreement/masks: white is foreground, black is not; \
keep name and size. They start as: {settings.initial_mask}.
2. random/ is {format_count(n_random, "image")} at random: its mean is an estimate for all \
images. disagreement/ is {n_disagreement} on which the runs differ most: for finding \
failures, in no mean.
3. A mask is unedited while its SHA-256 is the initial_sha256 of selection.csv; edit all of \
random/ before you trust a score.
4. Score:    bgexp run dataset=pairs dataset.images=random/images dataset.masks=random/masks …
5. Failures: bgexp run dataset=pairs dataset.images=disagreement/images \
dataset.masks=disagreement/masks …
"""


def show_selection(output: Path, rows: pd.DataFrame, settings: SelectSettings) -> None:
    """Print what was written, and what to do next."""
    counts = rows["why"].value_counts()
    random, disagreement = counts.get(RANDOM, 0), counts.get(DISAGREEMENT, 0)
    print(f"{random} images at random, {disagreement} where the runs disagree")
    where, start = make_printable(output), settings.initial_mask
    print(f"Edit:    {where}  (masks start as {start}; README.txt tells how)")
    folders = [
        write_override("run", f"dataset.{name}", output / RANDOM / name)
        for name in ("images", "masks")
    ]
    print(f"Then:    {write_command('run', ['dataset=pairs', *folders], settings)}")
