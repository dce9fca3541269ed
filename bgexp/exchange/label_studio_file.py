"""Masks as tasks of Label Studio with predictions, as its guide to pre-annotations describes them.

https://labelstud.io/guide/predictions; brush masks are packed by https://thi.ng/rle-pack.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from bgexp.exchange.draft import LABEL, Draft
from bgexp.exchange.outlines import trace_polygons

# Where its storage of local files finds what lies below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
_LOCAL = "/data/local-files/?d="
_SIZES = (3, 4, 8, 16)  # bits of a run's length; which of them, two bits before it say
_LONGEST = 2 ** _SIZES[-1]


def build_tasks(drafts: Iterable[Draft], polygons: bool, folder: str) -> list[dict[str, Any]]:
    """Return a task for each image.

    Args:
        drafts: The images, each in turn.
        polygons: Whether masks become polygons, with an IoU of 0.99 at least; else they are
            brush masks, bit for bit.
        folder: Name of the folder of images, in Label Studio's root of local files.
    """
    find_regions = _outline if polygons else _paint
    return [
        {
            "data": {"image": _LOCAL + quote(f"{folder}/{draft.path}")},
            "predictions": [{"model_version": "bgexp", "result": find_regions(draft)}],
        }
        for draft in drafts
    ]


def build_interface(polygons: bool) -> str:
    """Return the labelling interface that a project of these tasks needs."""
    tag = "PolygonLabels" if polygons else "BrushLabels"
    return f"""\
<View>
  <Image name="image" value="$image" zoom="true"/>
  <{tag} name="label" toName="image">
    <Label value="{LABEL}"/>
  </{tag}>
</View>
"""


def _paint(draft: Draft) -> list[dict[str, Any]]:
    if not draft.mask.any():
        return []
    value = {"format": "rle", "rle": pack_mask(draft.mask), "brushlabels": [LABEL]}
    return [_make_region(draft, 1, "brushlabels", value)]


def _outline(draft: Draft) -> list[dict[str, Any]]:
    percent = np.array([100 / draft.width, 100 / draft.height])
    return [
        _make_region(
            draft,
            number,
            "polygonlabels",
            {"points": (polygon * percent).tolist(), "closed": True, "polygonlabels": [LABEL]},
        )
        for number, polygon in enumerate(trace_polygons(draft.mask), 1)
    ]


def _make_region(draft: Draft, number: int, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"region{number}",
        "type": kind,
        "from_name": "label",
        "to_name": "image",
        "original_width": draft.width,
        "original_height": draft.height,
        "image_rotation": 0,
        "value": value,
    }


def pack_mask(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask as Label Studio packs the RGBA pixels of a brush: bytes.

    32 bits of how many numbers there are, 5 of their size less one, 4 times 4 of the sizes of
    lengths less one; then for each run a bit that is 1, two that choose the size of its length, its
    length less one, and its number.
    """
    pixels = mask.ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=pixels[:1]))
    starts = np.concatenate([[0], changes])
    lengths = 4 * np.diff(starts, append=pixels.size)  # each pixel is four numbers
    bits = [f"{4 * pixels.size:032b}{8 - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for length, value in zip(lengths.tolist(), pixels[starts].tolist(), strict=True):
        for start in range(0, length, _LONGEST):
            run = min(length - start, _LONGEST) - 1
            choice = next(n for n, size in enumerate(_SIZES) if run < 2**size)
            bits.append(f"1{choice:02b}{run:0{_SIZES[choice]}b}{255 * value:08b}")
    text = "".join(bits)
    data = np.frombuffer(text.encode(), np.uint8) == ord("1")
    return [int(byte) for byte in np.packbits(data)]
