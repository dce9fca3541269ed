"""Measures edges on composites: error over other backgrounds, and time.

Usage: python docs/soft-edges/measure.py COMPOSITES MASKS OUTPUT.csv [METHOD …]

COMPOSITES is what draw_composites.py wrote; MASKS is `exact` for alpha > 0.5, or a folder of masks
(PNG, white = keep) with the composites' names. The peers need `pip install pymatting rembg`. A row
an image and method: mean absolute error, 0 to 255, over white, green and black, of alpha, and the
milliseconds of processor time. A method is run again only for images without a row.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from bgexp.images.decode import decode_mask, load_image
from bgexp.pipeline.soft_edge import estimate_matte

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
BACKGROUNDS = {"white": (255, 255, 255), "green": (0, 255, 0), "black": (0, 0, 0)}
BAND = 5  # pixels around the edge that are unknown to the solvers, as rembg's erosion by 10


def keep_hard(image: Bytes, mask: Mask) -> tuple[Bytes, Bytes]:
    """Keep the hard edge."""
    return mask.astype(np.uint8) * np.uint8(255), image


def feather(image: Bytes, mask: Mask) -> tuple[Bytes, Bytes]:
    """Blur the mask by one pixel; colours as they are."""
    return cv2.GaussianBlur(mask.astype(np.uint8) * np.uint8(255), (0, 0), 1), image


def use_bgexp(image: Bytes, mask: Mask) -> tuple[Bytes, Bytes]:
    """Take cutout.edge=soft."""
    matte = estimate_matte(image, mask)
    return matte.alpha, matte.colors


def use_alpha_alone(image: Bytes, mask: Mask) -> tuple[Bytes, Bytes]:
    """Take the alpha of cutout.edge=soft, and the image's own colours."""
    return estimate_matte(image, mask).alpha, image


def use_rembg(image: Bytes, mask: Mask) -> tuple[Bytes, Bytes]:
    """Take rembg's alpha matting: closed form in its default trimap, multi-level foreground."""
    from rembg.bg import alpha_matting_cutout

    grey = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    rgba = np.asarray(alpha_matting_cutout(Image.fromarray(image), grey, 240, 10, 10))
    return rgba[..., 3], rgba[..., :3]


def solve(solver: str, image: Bytes, mask: Mask) -> tuple[Bytes, Bytes]:
    """Solve by pymatting in the band, with its multi-level foreground."""
    import pymatting

    depth = [cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, 5) for part in (mask, ~mask)]
    trimap = np.where(depth[0] > BAND, 1.0, np.where(depth[1] > BAND, 0.0, 0.5))
    alpha = getattr(pymatting, f"estimate_alpha_{solver}")(image / 255, trimap)
    colors = pymatting.estimate_foreground_ml(image / 255, alpha)
    return tuple(np.rint(255 * plane.clip(0, 1)).astype(np.uint8) for plane in (alpha, colors))


METHODS: dict[str, Callable[[Bytes, Mask], tuple[Bytes, Bytes]]] = {
    "hard": keep_hard,
    "feather": feather,
    "bgexp": use_bgexp,
    "bgexp, alpha alone": use_alpha_alone,
    "rembg": use_rembg,
    "closed form": lambda image, mask: solve("cf", image, mask),
    "knn": lambda image, mask: solve("knn", image, mask),
}


def compose(colors: Bytes, alpha: Bytes, background: tuple[int, int, int]) -> Bytes:
    """Lay a cut-out over a colour."""
    share = alpha[..., None] / 255
    return np.rint(share * colors + (1 - share) * background).astype(np.uint8)


def measure(method: str, image: Bytes, mask: Mask, colors: Bytes, alpha: Bytes) -> dict[str, float]:
    """Compare a method's result with the truth's colours and alpha."""
    started = process_time()
    found_alpha, found_colors = METHODS[method](image, mask)
    row = {"ms": 1000 * (process_time() - started)}
    for name, background in BACKGROUNDS.items():
        results = compose(found_colors, found_alpha, background), compose(colors, alpha, background)
        row[name] = float(np.abs(results[0].astype(int) - results[1]).mean())
    return row | {"alpha": float(np.abs(found_alpha.astype(int) - alpha).mean())}


def main(composites: Path, masks: str, output: Path, methods: list[str]) -> None:
    """Measure all images, and print the means."""
    cv2.setNumThreads(1)
    rows = pd.read_csv(output).to_dict("records") if output.exists() else []
    done = {(row["image"], row["method"]) for row in rows}
    for path in sorted((composites / "images").rglob("*.png")):
        name = path.relative_to(composites / "images")
        alpha = np.asarray(Image.open(composites / "alphas" / name))
        mask = alpha > 127 if masks == "exact" else decode_mask((Path(masks) / name).read_bytes())
        iou = float((mask & (alpha > 127)).sum() / (mask | (alpha > 127)).sum())
        for method in methods:
            if (str(name), method) not in done:
                colors = load_image(composites / "foregrounds" / name)
                scores = measure(method, load_image(path), mask, colors, alpha)
                rows.append({"image": str(name), "method": method, "iou": iou, **scores})
        pd.DataFrame(rows).round(4).to_csv(output, index=False)
    table = pd.DataFrame(rows)
    print(table.groupby("method")[[*BACKGROUNDS, "alpha"]].mean().round(3))
    print(table.groupby("method")["ms"].median().round(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:] or list(METHODS))
