"""Masks as CVAT's own XML ("CVAT for images 1.1"): https://docs.cvat.ai/docs/other/xml_format."""

import re
from collections.abc import Iterable
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from bgexp.errors import UserError
from bgexp.exchange.draft import LABEL, Draft
from bgexp.exchange.outlines import trace_polygons
from bgexp.system.terminal import make_printable

# What XML 1.0 has no way to write: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_cvat(drafts: Iterable[Draft], polygons: bool) -> bytes:
    """Return the content of the file.

    Args:
        drafts: The images, each in turn.
        polygons: Whether masks become polygons, with an IoU of 0.99 at least; else they are
            runs, bit for bit.

    Raises:
        UserError: An image has a name that XML cannot hold.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    meta = ElementTree.SubElement(root, "meta")
    task = ElementTree.SubElement(meta, "task")
    labels = ElementTree.SubElement(task, "labels")
    label = ElementTree.SubElement(labels, "label")
    ElementTree.SubElement(label, "name").text = LABEL
    ElementTree.SubElement(label, "attributes")
    for number, draft in enumerate(drafts):
        if _NO_XML.search(draft.path):
            raise UserError(
                f"format=cvat: XML cannot hold the name {make_printable(draft.path)} (rename the "
                "image, or take another format)"
            )
        size = {"width": str(draft.width), "height": str(draft.height)}
        image = ElementTree.SubElement(
            root, "image", {"id": str(number), "name": draft.path} | size
        )
        _add_shapes(image, draft, polygons)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True))


def _add_shapes(image: ElementTree.Element, draft: Draft, polygons: bool) -> None:
    common = {"label": LABEL, "source": "auto", "occluded": "0"}
    if polygons:
        for polygon in trace_polygons(draft.mask):
            points = ";".join(f"{x},{y}" for x, y in polygon.tolist())
            shape = common | {"points": points, "z_order": "0"}
            ElementTree.SubElement(image, "polygon", shape)
    elif draft.mask.any():
        rows, columns = (np.flatnonzero(draft.mask.any(axis=axis)) for axis in (1, 0))
        window = draft.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        place = {"left": columns[0], "top": rows[0]}
        place |= {"width": window.shape[1], "height": window.shape[0]}
        shape = {**common, "rle": ", ".join(map(str, count_runs(window)))}
        shape |= {key: str(value) for key, value in place.items()} | {"z_order": "0"}
        ElementTree.SubElement(image, "mask", shape)


def count_runs(window: NDArray[np.bool_]) -> list[int]:
    """Return the runs of a mask row by row, of background and foreground in turn.

    >>> count_runs(np.array([[False, True], [True, False]]))
    [1, 2, 1]
    """
    pixels = window.ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return [int(run) for run in np.diff(changes, prepend=0, append=pixels.size)]
