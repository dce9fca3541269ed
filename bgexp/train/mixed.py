"""Composites and photographs with masks together, each source with its share of the draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bgexp.config.datasets import Pairs
from bgexp.config.train import Mixture, RealSet, TrainLoop
from bgexp.datasets.read import Dataset, read_dataset
from bgexp.errors import UserError
from bgexp.images.decode import ImageError
from bgexp.train.augment import Photographs
from bgexp.train.composites import CompositeSources
from bgexp.train.pasted import PastedSubjects
from bgexp.train.scene import Scene, Scenes


class MixedScenes:
    """Several sources, of which one draws each scene.

    Attributes:
        sources: The sources to draw from.
        shares: How often each is drawn from; they add up to 1.
    """

    def __init__(self, sources: Sequence[Scenes], weights: Sequence[float]) -> None:
        self.sources = tuple(sources)
        self.shares = np.array(weights) / sum(weights)

    def draw(self, size: int, rng: np.random.Generator) -> Scene:
        """Draw a random scene of a random source."""
        return self.sources[rng.choice(len(self.sources), p=self.shares)].draw(size, rng)


@dataclass(frozen=True)
class RealSplit:
    """The photographs of one set for training or for validation.

    Attributes:
        key: The setting of the set, such as `dataset.real.people`.
        weight: How often it is drawn from, relative to the other sets.
        photographs: The images, their masks and a detector's.
        datasets: The images with their masks, and with the detector's if there are any.
    """

    key: str
    weight: float
    photographs: Photographs
    datasets: tuple[Dataset, ...]


def read_real_sets(source: Mixture, split: str, seed: int) -> list[RealSplit]:
    """Read one split, `train` or `validation`, of each set of photographs.

    Raises:
        UserError: A folder is missing, or a mask.
    """
    return [_read_real_set(name, real, split, seed) for name, real in source.real.items()]


def _read_real_set(name: str, real: RealSet, split: str, seed: int) -> RealSplit:
    key, folder = f"dataset.real.{name}", real.root / split
    dataset = _read_pairs(key, folder / "images", folder / "masks", seed)
    dataset = replace(dataset, name=f"{name}/{split}")
    if real.coarse is None:
        photographs = Photographs(dataset.items, real.max_megapixels, {})
        return RealSplit(key, real.weight, photographs, (dataset,))
    coarse = _read_pairs(key, folder / "images", real.coarse / split, seed)
    files = {item.path: item.mask for item in coarse.items if item.mask is not None}
    for item in dataset.items:
        if item.path not in files:
            raise UserError(f"{key}.coarse: no mask of {item.path} in {real.coarse / split}")
    photographs = Photographs(dataset.items, real.max_megapixels, {}, files)
    coarse = replace(coarse, name=f"{name}/{split}/coarse")
    return RealSplit(key, real.weight, photographs, (dataset, coarse))


def _read_pairs(key: str, images: Path, masks: Path, seed: int) -> Dataset:
    """Read the images that have a mask."""
    try:
        dataset = read_dataset(Pairs(name="pairs", images=images, masks=masks), seed)
    except UserError as error:
        raise UserError(f"{key}: {str(error).removeprefix('dataset.')}") from error
    return replace(dataset, items=tuple(item for item in dataset.items if item.mask is not None))


def mix_scenes(source: Mixture, real_splits: Sequence[RealSplit]) -> MixedScenes:
    """Mix composites and the photographs of every set, as they are and pasted, by their shares."""
    composites = CompositeSources.from_folders(source.cutouts, source.backgrounds)
    total = sum(split.weight for split in real_splits)
    weights = [source.real_share * split.weight / total for split in real_splits]
    photographs = [split.photographs for split in real_splits]
    pasted = PastedSubjects(photographs, weights)
    shares = [1 - source.real_share - source.pasted_share, source.pasted_share, *weights]
    return MixedScenes([composites, pasted, *photographs], shares)


def load_validation(
    source: Mixture, real_splits: Sequence[RealSplit], loop: TrainLoop, seed: int
) -> list[list[Scene]]:
    """Load unseen pictures: composites, and as many of each set.

    Raises:
        UserError: One cannot be read.
    """
    n_each = max(1, loop.validation_images // (len(real_splits) + 1))
    unseen = CompositeSources.from_folders(source.validation_cutouts, source.validation_backgrounds)
    scenes = [unseen.draw_many(n_each, loop.image_size, seed)]
    for split in real_splits:
        scenes.append([])
        items = split.photographs.items
        for number in np.random.default_rng((seed, 2)).permutation(len(items))[:n_each]:
            try:
                scenes[-1].append(split.photographs.load_whole(items[number], loop.image_size))
            except ImageError as error:
                raise UserError(f"{split.key}: {items[number].path}: {error}") from error
    return scenes
