"""COCO's mask AP: how well single objects are found, whatever becomes of them in one mask."""

import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bgexp.datasets.coco_masks import Runs, encode_masks, encode_runs
from bgexp.datasets.read import Dataset, Item
from bgexp.detect.detections import Detections
from bgexp.pipeline.combine import PastedMask, paste_mask

# COCO's summary, in its order: IoU 0.50 to 0.95, 100 detections and any size where not said.
SUMMARY = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)


class MaskAveragePrecision:
    """COCO's mask AP over detections that are added image by image, as runs of pixels.

    Lin et al., Microsoft COCO, ECCV 2014, as pycocotools computes it: crowds neither count nor
    cost. Images that are not added are left out.
    """

    def __init__(self, dataset: Dataset, class_names: Sequence[str] | None) -> None:
        """Read the categories from the dataset's annotations.

        Args:
            dataset: A dataset with COCO annotations.
            class_names: The detector's, by its labels; None: it tells no classes apart, and
                categories do not count.
        """
        images = (item.annotations for item in dataset.items if item.annotations is not None)
        names = next((image.categories for image in images), {})
        self._ids = {name: n for n, name in names.items() if n is not None}  # one for each name
        self._class_names = class_names
        self._images: list[dict[str, int]] = []
        self._truths: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, item: Item, detections: Detections, mask_threshold: float) -> None:
        """Add an image's detections; those of a class that the annotations lack do not count.

        Args:
            item: An image with annotations.
            detections: Those that count.
            mask_threshold: A pixel belongs to an object where its soft mask is above it.

        Raises:
            ImageError: the annotations do not fit the image.
            ValueError: the image has no annotations.
        """
        image, size = item.annotations, (detections.height, detections.width)
        if image is None:
            raise ValueError(f"no annotations: {item.path}")
        masks = encode_masks(image, size)
        self._images.append({"id": image.id, "height": size[0], "width": size[1]})
        for annotation, runs in zip(image.annotations, masks, strict=True):
            category = self._ids[image.categories[annotation.category_id]]
            area = mask.area(runs) if annotation.area is None else annotation.area
            row = _make_row(self._truths, image.id, category, runs)
            self._truths.append(row | {"iscrowd": int(annotation.iscrowd), "area": area})
        for i, label in enumerate(detections.labels.tolist()):
            category_id = self._get_category(label)
            if category_id is not None:
                pasted = paste_mask(detections.masks[i], detections.boxes[i], size, mask_threshold)
                runs = _encode_runs(pasted, size)
                row = _make_row(self._found, image.id, category_id, runs)
                score = float(detections.scores[i])
                self._found.append(row | {"score": score, "area": mask.area(runs)})

    def compute(self) -> dict[str, float]:
        """Return COCO's twelve numbers by their names in `SUMMARY`; NaN where one is undefined."""
        with redirect_stdout(StringIO()):  # pycocotools prints all it does
            evaluation = COCOeval(
                self._build_coco(self._truths), self._build_coco(self._found), "segm"
            )
            evaluation.params.useCats = int(self._class_names is not None)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        values = (value if value >= 0 else math.nan for value in evaluation.stats.tolist())
        return dict(zip(SUMMARY, values, strict=True))

    def _get_category(self, label: int) -> int | None:
        if self._class_names is None:
            return min(self._ids.values(), default=None)
        return self._ids.get(self._class_names[label])

    def _build_coco(self, rows: list[dict[str, Any]]) -> COCO:
        # A category without truth or detections would cost time and has no say in any mean.
        category_ids = sorted({row["category_id"] for row in (*self._truths, *self._found)})
        coco = COCO()
        coco.dataset = {
            "images": self._images,
            "annotations": rows,
            "categories": [{"id": number} for number in category_ids],
        }
        coco.createIndex()
        return coco


def _make_row(rows: list[dict[str, Any]], image: int, category: int, runs: Runs) -> dict[str, Any]:
    # Numbered from 1: pycocotools takes an id of 0 for no match.
    return {
        "id": len(rows) + 1,
        "image_id": image,
        "category_id": category,
        "segmentation": runs,
    }


def _encode_runs(pasted: PastedMask, size: tuple[int, int]) -> Runs:
    """Return the runs of a mask from its window alone: no plane of the image's size is made."""
    rows, columns = pasted.where
    padded = np.pad(pasted.window, ((1, 1), (0, 0)))
    column, row = np.nonzero(np.ascontiguousarray((padded[1:] != padded[:-1]).T))
    return encode_runs((column + columns.start) * size[0] + row + rows.start, size)
