"""Truths looked at before they are used: by a detector's masks of a few of the images."""

from collections.abc import Iterable
from itertools import islice

from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Dataset
from bgexp.detect.detector import Detector
from bgexp.experiment.truth_findings import describe_truth_findings
from bgexp.experiment.truth_fits import measure_truth_fits, summarize_fits
from bgexp.pipeline.remove import ByteArray, remove_background
from bgexp.system.progress import tell

_MOST = 16  # images: what is wrong with all truths shows in a few


def warn_of_truths(
    dataset: Dataset, pictures: Iterable[tuple[ByteArray, Truth]], detector: Detector
) -> None:
    """Tell what is wrong with a user's own truths, as `bgexp run` does at its end.

    Args:
        dataset: Where they are from; of several, each is named.
        pictures: HxWx3 uint8 RGB with their truths.
        detector: Whose masks they are held against.
    """
    fits = [
        measure_truth_fits(remove_background(image, detector).mask, truth)
        for image, truth in islice(pictures, _MOST)
    ]
    document = {"masks": dataset.mask_rule.to_document()} if dataset.name != "coco" else {}
    name = "" if dataset.name in ("pairs", "coco") else f"{dataset.name}: "
    for line in describe_truth_findings({"dataset": {**document, "truth": summarize_fits(fits)}}):
        tell(f"{name}{line}")
