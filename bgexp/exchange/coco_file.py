"""Masks as a COCO annotation file: an image each, and an annotation where anything was found."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from bgexp.datasets.coco_masks import encode_mask_runs
from bgexp.exchange.draft import LABEL, Draft
from bgexp.exchange.outlines import trace_polygons


def build_coco(drafts: Iterable[Draft], polygons: bool) -> dict[str, Any]:
    """Return the content of the file; ids count from 1.

    Args:
        drafts: The images, each in turn.
        polygons: Whether masks become polygons, with an IoU of 0.99 at least; else they are
            compressed runs, bit for bit.
    """
    content: dict[str, Any] = {
        "info": {"description": "a first draft by bgexp"},
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": LABEL, "supercategory": ""}],
    }
    for number, draft in enumerate(drafts, 1):
        entry = {"file_name": draft.path, "height": draft.height, "width": draft.width}
        content["images"].append({"id": number, **entry})
        if draft.mask.any():
            content["annotations"].append(_annotate(number, draft, polygons))
    return content


def _annotate(number: int, draft: Draft, polygons: bool) -> dict[str, Any]:
    rows, columns = (np.flatnonzero(draft.mask.any(axis=axis)).tolist() for axis in (1, 0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    if polygons:
        segmentation: Any = [polygon.ravel().tolist() for polygon in trace_polygons(draft.mask)]
    else:
        runs = encode_mask_runs(draft.mask)
        segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "segmentation": segmentation,
        "area": int(np.count_nonzero(draft.mask)),
        "bbox": box,
        "iscrowd": 0,
    }
