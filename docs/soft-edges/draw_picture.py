"""Draws docs/images/soft-edges.png: crops of fur and hair with a hard and a soft edge.

Usage: python docs/soft-edges/draw_picture.py COMPOSITES OUTPUT.png

COMPOSITES is what draw_composites.py wrote. Each row: the photograph, hard on white, soft on white,
hard on green, soft on green. The masks of the sample's animals are bgexp's own; the composite's is
its alpha over one half.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import bgexp
from bgexp.images.decode import load_image
from bgexp.images.png import encode_png
from bgexp.pipeline.cutout import cut_out
from bgexp.pipeline.soft_edge import estimate_matte
from bgexp.system.atomic import write_whole

SAMPLE = Path(bgexp.__file__).parent / "sample/images/animals"
# Left, top and side of a square in each picture, in pixels.
CROPS = {"cat.jpg": (410, 140, 110), "rabbit.jpg": (250, 150, 110), "tiger.jpg": (340, 280, 110)}
COMPOSITE = ("hair/001.png", (500, 60, 110))
SIDE = 230


def draw_row(
    image: NDArray[np.uint8], mask: NDArray[np.bool_], crop: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Draw a row of five squares."""
    matte = estimate_matte(image, mask)
    panels = [image]
    for background in ("white", "#00b140"):
        panels += [cut_out(image, mask, background), cut_out(image, mask, background, matte)]
    left, top, side = crop
    squares = [
        cv2.resize(panel[top : top + side, left : left + side], (SIDE, SIDE), interpolation=0)
        for panel in panels
    ]
    return np.hstack([np.pad(square, [(2, 2), (2, 2), (0, 0)]) for square in squares])


def main(composites: Path, output: Path) -> None:
    """Write the picture."""
    remove, rows = bgexp.Remover(), []
    for name, crop in CROPS.items():
        image = load_image(SAMPLE / name)
        rows.append(draw_row(image, remove(image).mask, crop))
    name, crop = COMPOSITE
    alpha = cv2.imread(str(composites / "alphas" / name), cv2.IMREAD_GRAYSCALE)
    rows.append(draw_row(load_image(composites / "images" / name), alpha > 127, crop))
    write_whole(output, encode_png(np.vstack(rows)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
