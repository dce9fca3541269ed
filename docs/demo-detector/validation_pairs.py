"""Writes validation composites as image-mask pairs, to choose settings by `bgexp run`.

Usage: python docs/demo-detector/validation_pairs.py data/training OUTPUT

OUTPUT/single has scenes with one large object, OUTPUT/several those with more: 40 each, 640 pixels,
of objects and backgrounds that training never sees. OUTPUT/.../images and masks are the two folders
that `dataset=pairs` takes.
"""

import sys
from pathlib import Path

import numpy as np

from bgexp.images.decode import encode_mask
from bgexp.images.png import encode_png
from bgexp.system.atomic import write_whole
from bgexp.train.composites import CompositeSources, compose
from bgexp.train.scene import Scene

COUNT, SIZE, SEED = 40, 640, 2


def choose_folder(scene: Scene) -> str | None:
    """Choose the folder of a scene; None for those that no one would photograph."""
    share = scene.masks.any(axis=0).mean()
    if len(scene.masks) == 1 and share > 0.12:
        return "single"
    return "several" if len(scene.masks) > 1 and share > 0.05 else None


def main(training: Path, output: Path) -> None:
    """Write both folders."""
    sources = CompositeSources.from_folders(
        training / "cutouts" / "validation", training / "backgrounds" / "validation"
    )
    counts = {"single": 0, "several": 0}
    index = 0
    while min(counts.values()) < COUNT:
        scene = compose(sources, SIZE, np.random.default_rng((SEED, index)))
        index += 1
        folder = choose_folder(scene)
        if folder is None or counts[folder] == COUNT:
            continue
        counts[folder] += 1
        root, name = output / folder, f"{folder}/{index:04d}.png"
        write_whole(root / "images" / name, encode_png(scene.image))
        write_whole(root / "masks" / name, encode_mask(scene.masks.any(axis=0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
