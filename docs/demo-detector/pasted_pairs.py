"""Writes validation scenes of two photographs each, as image-mask pairs for `bgexp run`.

Usage: python docs/demo-detector/pasted_pairs.py DATA OUTPUT

DATA has people/, pets/ and objects/, each with validation/images and validation/masks. OUTPUT has
90 scenes of 512 pixels in images/ and masks/: the subject of one photograph over another one, whose
own subject stays as a distractor; where none suits, a photograph as it is.
"""

import sys
from pathlib import Path

import numpy as np

from bgexp.config.datasets import Pairs
from bgexp.datasets.read import read_dataset
from bgexp.images.decode import encode_mask
from bgexp.images.png import encode_png
from bgexp.system.atomic import write_whole
from bgexp.train.augment import Photographs
from bgexp.train.pasted import PastedSubjects

COUNT, SIZE, SEED, MAX_MEGAPIXELS = 90, 512, 77, 200
WEIGHTS = {"people": 0.4, "pets": 0.3, "objects": 0.3}  # those of the training


def main(data: Path, output: Path) -> None:
    """Write both folders."""
    sets = []
    for name in WEIGHTS:
        folder = data / name / "validation"
        pairs = Pairs(name="pairs", images=folder / "images", masks=folder / "masks")
        sets.append(Photographs(read_dataset(pairs, 0).items, MAX_MEGAPIXELS, {}))
    subjects = PastedSubjects(sets, list(WEIGHTS.values()))
    for index in range(COUNT):
        scene = subjects.draw(SIZE, np.random.default_rng((SEED, index)))
        write_whole(output / "images" / f"{index:03}.png", encode_png(scene.image))
        write_whole(output / "masks" / f"{index:03}.png", encode_mask(scene.foreground))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
