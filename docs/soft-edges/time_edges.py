"""Measures processor milliseconds of a soft edge on enlarged composites, one thread.

Usage: python docs/soft-edges/time_edges.py COMPOSITES
"""

import sys
from pathlib import Path
from statistics import median
from time import process_time

import cv2

from bgexp.images.decode import load_image
from bgexp.pipeline.cutout import cut_out
from bgexp.pipeline.soft_edge import estimate_matte

REPEATS = 5


def main(composites: Path) -> None:
    """Print a line for each size: megapixels, hard on white, soft on white."""
    cv2.setNumThreads(1)
    name = "plain/000.png"
    image = load_image(composites / "images" / name)
    alpha = cv2.imread(str(composites / "alphas" / name), cv2.IMREAD_GRAYSCALE)
    for megapixels in (0.4, 1, 4, 12):
        side = round((1e6 * megapixels) ** 0.5)
        large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        mask = cv2.resize(alpha, (side, side)) > 127
        times: dict[str, list[float]] = {"hard": [], "soft": []}
        for _ in range(REPEATS):
            for edge, spent in times.items():
                started = process_time()
                matte = estimate_matte(large, mask) if edge == "soft" else None
                cut_out(large, mask, "white", matte)
                spent.append(1000 * (process_time() - started))
        print(megapixels, *(f"{edge} {median(spent):.0f} ms" for edge, spent in times.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
