"""Draws composites with exact alpha: what soft edges are measured on.

Usage: python docs/soft-edges/draw_composites.py data/training OUTPUT [COUNT]

Objects and backgrounds are those that training never sees. Every second object gets strands of hair
or fur around its edge. OUTPUT/images, OUTPUT/alphas (8-bit grey) and OUTPUT/foregrounds (the pure
colours, RGB) hold a file each of one name; `dataset=pairs` reads the first two.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.images.decode import load_image
from bgexp.images.png import encode_png
from bgexp.system.atomic import write_whole
from bgexp.train.composites import CompositeSources, place_cutout, shift_colours

Floats = NDArray[np.float32]
Generator = np.random.Generator

SIZE, SEED, SCALE = 640, 27, 3  # strands are drawn so many times larger
SMALLEST, LARGEST = 0.06, 0.6  # of an object, as shares of the picture


def draw_background(sources: CompositeSources, rng: Generator) -> Floats:
    """Draw a crop of a photograph, in half of them out of focus."""
    picture = load_image(sources.backgrounds[rng.integers(len(sources.backgrounds))])
    side = int(min(picture.shape[:2]) * rng.uniform(0.4, 1.0))
    top, left = (rng.integers(length - side + 1) for length in picture.shape[:2])
    crop = picture[top : top + side, left : left + side]
    crop = cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    crop = shift_colours(crop, rng, hue=15)
    if rng.random() < 0.5:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(1, 5))
    return crop.astype(np.float32)


def draw_strands(layer: Floats, rng: Generator) -> Floats:
    """Add strands that start inside the object and leave it, in the colours of their roots."""
    alpha = layer[..., 3]
    outline, _ = cv2.findContours(
        (alpha > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    points = np.concatenate(outline)[:, 0].astype(np.float32)
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    outwards = -np.dstack([cv2.Sobel(depth, cv2.CV_32F, 1, 0), cv2.Sobel(depth, cv2.CV_32F, 0, 1)])
    outwards = cv2.GaussianBlur(outwards, (0, 0), 4)
    length, swirl = rng.uniform(5, 16), rng.normal(0, 0.5)
    large = cv2.resize(layer, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_LINEAR)
    for root in points[rng.random(len(points)) < rng.uniform(0.3, 0.9)]:
        x, y = root.astype(int)
        if depth[y, x] == 0 or not (0 < x < SIZE - 1 and 0 < y < SIZE - 1):
            continue
        normal = outwards[y, x] / max(float(np.linalg.norm(outwards[y, x])), 1e-3)
        inner = np.clip((root - 3 * normal).astype(int), 0, SIZE - 1)
        if layer[inner[1], inner[0], 3] < 0.9:
            continue
        color = layer[inner[1], inner[0], :3] * rng.uniform(0.8, 1.15)
        angle = swirl + rng.normal(0, 0.35)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        steps = np.linspace(-0.3, 1, 8)[:, None] * length * rng.uniform(0.4, 1)
        bend = rng.normal(0, 0.02) * steps**2 * (turn @ normal)[::-1] * [1, -1]
        path = (root + 0.5 + steps * (turn @ normal) + bend) * SCALE
        pen = [*np.clip(color, 0, 255).tolist(), 1.0]
        fixed = np.round(path * 16).astype(np.int32)
        cv2.polylines(large, [fixed], False, pen, int(rng.integers(1, 4)), cv2.LINE_8, 4)
    return cv2.resize(large, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def draw_object(sources: CompositeSources, hairy: bool, rng: Generator) -> Floats:
    """Draw an object of a sensible size: HxWx4 float32, colour times alpha, and alpha."""
    while True:
        cutout = sources.pick(rng)
        layer = place_cutout(cutout, SIZE, rng.uniform(0.35, 1.0), rng)
        share = (layer[..., 3] > 0.5).mean()
        if SMALLEST < share < LARGEST:
            break
    layer = draw_strands(layer, rng) if hairy else layer
    if rng.random() < 0.5:  # out of focus
        layer = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.4, 1.2))
    return layer


def main(training: Path, output: Path, count: int) -> None:
    """Write the composites."""
    sources = CompositeSources.from_folders(
        training / "cutouts" / "validation", training / "backgrounds" / "validation"
    )
    for index in range(count):
        rng = np.random.default_rng((SEED, index))
        hairy = index % 2 == 1
        layer = draw_object(sources, hairy, rng)
        alpha = np.clip(layer[..., 3:], 0, 1)
        picture = layer[..., :3] + (1 - alpha) * draw_background(sources, rng)
        picture += rng.normal(0, rng.uniform(0, 3), (SIZE, SIZE, 1))
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 98))]
        pixels = np.clip(picture, 0, 255).round().astype(np.uint8)
        image = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
        foreground = np.clip(layer[..., :3] / np.maximum(alpha, 1e-3), 0, 255)
        name = f"{'hair' if hairy else 'plain'}/{index:03d}.png"
        write_whole(output / "images" / name, encode_png(np.asarray(image, np.uint8)))
        grey = (255 * alpha[..., 0]).round().astype(np.uint8)
        write_whole(output / "alphas" / name, cv2.imencode(".png", grey)[1].tobytes())
        write_whole(output / "foregrounds" / name, encode_png(foreground.round().astype(np.uint8)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 80)
