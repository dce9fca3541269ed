"""How alike the masks of runs are to those of a reference run, which is no truth."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from bgexp.compare.comparable_runs import label_run
from bgexp.compare.comparison import Comparison, Variant
from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from bgexp.metrics.aggregation import aggregate
from bgexp.metrics.counts import BoolMask
from bgexp.metrics.overlap import boundary_iou, dice, iou
from bgexp.system.progress import show_progress
from bgexp.tracking.past_runs import StoredRun
from bgexp.tracking.run_folder import MASKS, RunFolder, open_masks

AGREEMENT = {"iou": iou, "boundary_iou": boundary_iou, "dice": dice}


def add_agreement(comparison: Comparison, reference: StoredRun) -> Comparison:
    """Add each variant's agreement with a reference run, on the images that it has too.

    Raises:
        UserError: It has none of the images, or its masks are gone.
    """
    rows = reference.rows
    available = set(zip(rows["path"], rows["sha256"], strict=True)) if len(rows) else set()
    common = comparison.runs[0].rows
    images = zip(common["path"], common["sha256"], strict=True)
    paths = [path for path, digest in images if (path, digest) in available]
    if not paths:
        raise UserError(f"reference: run {reference.run_id[:8]} has none of the images compared")
    if not reference.folder.has(MASKS):
        raise UserError(f"reference: the masks of run {reference.run_id[:8]} are gone")
    variants = []
    with show_progress("agreement", len(comparison.variants)) as step:
        for variant in comparison.variants:
            variants.append(_measure_agreement(variant, comparison.folders, reference, paths))
            step(0)
    return replace(comparison, variants=variants, reference=label_run(reference))


def _measure_agreement(
    variant: Variant, folders: Mapping[str, RunFolder], reference: StoredRun, paths: list[str]
) -> Variant:
    if variant.run_id == reference.run_id:  # with itself it agrees
        return variant
    scores: dict[str, list[float]] = {key: [] for key in AGREEMENT}
    for mask, target in _read_mask_pairs(folders[variant.run.name], reference.folder, paths=paths):
        for key, function in AGREEMENT.items():
            scores[key].append(function(mask, target))
    return replace(variant, agreement={key: aggregate(values) for key, values in scores.items()})


def _read_mask_pairs(*folders: RunFolder, paths: list[str]) -> Iterator[tuple[BoolMask, BoolMask]]:
    """Yield each image's masks in two runs, HxW bool; none for an image that failed in either."""
    if not folders[0].has(MASKS):
        return
    with open_masks(folders) as archives:
        for path in paths:
            with suppress(ImageError):
                mask, target = (archive.read(path) for archive in archives)
                if mask.shape == target.shape:
                    yield mask, target
