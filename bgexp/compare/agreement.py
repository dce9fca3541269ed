"""How alike the masks of runs are to those of a reference run, which is no truth."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bgexp.compare.comparable_runs import called
from bgexp.compare.comparison import Comparison, Variant
from bgexp.errors import UserError
from bgexp.experiment.saved_masks import MASKS
from bgexp.images.decode import ImageError, decode_mask
from bgexp.metrics.aggregation import aggregate
from bgexp.metrics.counts import BoolMask
from bgexp.metrics.overlap import boundary_iou, dice, iou
from bgexp.system.progress import progress
from bgexp.tracking.past_runs import StoredRun

AGREEMENT = {"iou": iou, "boundary_iou": boundary_iou, "dice": dice}


def with_agreement(comparison: Comparison, reference: StoredRun) -> Comparison:
    """The comparison with each variant's agreement with a run, on the images that it has too.

    Raises:
        UserError: It has none of the images, or its masks are gone.
    """
    rows = reference.rows
    have = set(zip(rows["path"], rows["sha256"], strict=True)) if len(rows) else set()
    common = comparison.jobs[0].rows
    wanted = zip(common["path"], common["sha256"], strict=True)
    paths = [path for path, digest in wanted if (path, digest) in have]
    if not paths:
        raise UserError(f"reference: run {reference.run_id[:8]} has none of the images compared")
    if not (reference.folder / MASKS).is_file():
        raise UserError(f"reference: the masks of run {reference.run_id[:8]} are gone")
    variants = []
    with progress("agreement", len(comparison.variants)) as step:
        for variant in comparison.variants:
            variants.append(_measured(variant, comparison.folders, reference, paths))
            step(0)
    return replace(comparison, variants=variants, reference=called(reference))


def _measured(
    variant: Variant, folders: Mapping[str, Path], reference: StoredRun, paths: list[str]
) -> Variant:
    if variant.run_id == reference.run_id:  # with itself it agrees
        return variant
    found: dict[str, list[float]] = {key: [] for key in AGREEMENT}
    for mask, other in _masks(folders[variant.job.name], reference.folder, paths):
        for key, function in AGREEMENT.items():
            found[key].append(function(mask, other))
    return replace(variant, agreement={key: aggregate(values) for key, values in found.items()})


def _masks(one: Path, other: Path, paths: list[str]) -> Iterator[tuple[BoolMask, BoolMask]]:
    """Of each image its two masks, HxW bool; one that failed in a run has none there."""
    if not (one / MASKS).is_file():
        return
    with zipfile.ZipFile(one / MASKS) as own, zipfile.ZipFile(other / MASKS) as others:
        for path in paths:
            with suppress(KeyError, ImageError):
                mask, reference = (
                    decode_mask(archive.read(f"{path}.png")) for archive in (own, others)
                )
                if mask.shape == reference.shape:
                    yield mask, reference
