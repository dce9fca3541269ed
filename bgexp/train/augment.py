"""People's own images with masks as scenes to learn from: cropped, mirrored, recoloured."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bgexp.datasets.coco_masks import decode_instances
from bgexp.datasets.load import load_item
from bgexp.datasets.read import Item
from bgexp.images.decode import ImageError, decode_mask, read_bytes
from bgexp.train.composites import apply_camera, shift_colours
from bgexp.train.scene import Scene

Generator = np.random.Generator

SMALLEST_PART = 0.05  # of the foreground: a separate part of a mask from there on is an object
SMALLEST = 16  # pixels; an object of fewer is left out

log = logging.getLogger(__name__)


class Photographs:
    """Images and their truth, by `dataset=pairs` or `dataset=coco`.

    Attributes:
        items: The images to draw from.
        classes: Ids of the categories by name; empty: all are objects of one class.
        coarse: Files of a detector's masks, by the path of their image.
    """

    def __init__(
        self,
        items: Sequence[Item],
        max_megapixels: float,
        classes: dict[str, int],
        coarse: Mapping[str, Path] | None = None,
    ) -> None:
        self.items, self.classes, self.coarse = tuple(items), classes, coarse or {}
        self._max_megapixels = max_megapixels

    def draw(self, size: int, rng: Generator) -> Scene:
        """Draw a random part of a random image, its colours and sharpness changed a little."""
        scene = self.draw_unchanged(2 * size, rng)
        scene = _crop(scene, rng) if rng.random() < 0.6 else scene
        scene = _resize(scene, size)
        scene = _mirror(scene) if rng.random() < 0.5 else scene
        image = shift_colours(np.ascontiguousarray(scene.image), rng, hue=6)
        return replace(scene, image=apply_camera(image.astype(np.float32), rng))

    def draw_unchanged(self, size: int, rng: Generator) -> Scene:
        """Draw a random image as it is, with a longer side of at most `size` pixels."""
        for _ in range(100):
            item = self.items[rng.integers(len(self.items))]
            try:
                return self._load(item, size)
            except ImageError as error:
                log.warning("%s: %s", item.path, error)
        raise ImageError("none of a hundred images could be read")

    def load_whole(self, item: Item, size: int) -> Scene:
        """Load an image as it is, with a longer side of `size` pixels.

        Raises:
            ImageError: Image or truth cannot be read.
        """
        return _resize(self._load(item, size), size)

    def _load(self, item: Item, limit: int) -> Scene:
        classes = tuple(self.classes.items())
        return _load_scene(item, self._max_megapixels, limit, classes, self.coarse.get(item.path))


@lru_cache(maxsize=256)
def _load_scene(
    item: Item,
    max_megapixels: float,
    limit: int,
    classes: tuple[tuple[str, int], ...],
    coarse_file: Path | None,
) -> Scene:
    """Load an image and its objects, with a longer side of at most `limit` pixels."""
    image, truth = load_item(item, max_megapixels)
    if item.annotations is not None:
        names, ids_by_name = item.annotations.categories, dict(classes)
        masks_by_id = decode_instances(item.annotations, image.shape[:2])
        category_names = {a.id: names[a.category_id] for a in item.annotations.annotations}
        labels = [ids_by_name.get(category_names[number], 1) for number in masks_by_id]
        masks = np.array(list(masks_by_id.values()), bool).reshape(-1, *image.shape[:2])
    else:
        masks = split_parts(np.zeros(image.shape[:2], bool) if truth is None else truth.foreground)
        labels = [1] * len(masks)
    coarse = None if coarse_file is None else _load_coarse(coarse_file, image.shape[:2])
    void = None if truth is None else truth.void
    scene = Scene(image, masks, np.array(labels, np.int64), coarse, void)
    return _resize(scene, limit) if max(image.shape) > limit else scene


def _load_coarse(file: Path, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Load a detector's mask of an image of this height and width, HxW bool."""
    try:
        coarse = decode_mask(read_bytes(file))
    except ImageError as error:
        raise ImageError(f"its coarse mask: {error}") from error
    if coarse.shape != size:
        (h, w), (height, width) = coarse.shape, size
        raise ImageError(f"its coarse mask has {w}x{h} pixels, the upright image {width}x{height}")
    return coarse


def split_parts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Split a mask without object ids into its large separate parts, NxHxW bool."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = [n for n in range(1, count) if areas[n - 1] >= SMALLEST_PART * areas.sum()]
    return np.array([numbers == n for n in large], bool).reshape(-1, *mask.shape)


def _crop(scene: Scene, rng: Generator) -> Scene:
    """Cut out a random part of the picture of 0.55 to 1 of its sides."""
    height, width = scene.image.shape[:2]
    rows, columns = (max(1, round(side * rng.uniform(0.55, 1))) for side in (height, width))
    y, x = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    where = slice(y, y + rows), slice(x, x + columns)
    coarse, void = (None if p is None else p[where] for p in (scene.coarse, scene.void))
    return Scene(scene.image[where], scene.masks[:, *where], scene.labels, coarse, void)


def _mirror(scene: Scene) -> Scene:
    """Mirror the picture left to right."""
    planes = (scene.coarse, scene.void)
    coarse, void = (None if p is None else np.ascontiguousarray(p[:, ::-1]) for p in planes)
    masks = np.ascontiguousarray(scene.masks[..., ::-1])
    return Scene(np.ascontiguousarray(scene.image[:, ::-1]), masks, scene.labels, coarse, void)


def _resize(scene: Scene, size: int) -> Scene:
    """Scale the picture to a longer side of `size` pixels, without the objects that vanish."""
    scale = size / max(scene.image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in scene.image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(scene.image, (width, height), interpolation=interpolation)

    def resize(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        plane = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=interpolation)
        return np.asarray(plane, bool)

    masks = [resize(mask) for mask in scene.masks]
    coarse, void = (None if p is None else resize(p) for p in (scene.coarse, scene.void))
    stacked = np.array(masks, bool).reshape(-1, height, width)
    is_visible = stacked.sum((1, 2)) >= SMALLEST
    labels = scene.labels[is_visible]
    return Scene(np.asarray(image, np.uint8), stacked[is_visible], labels, coarse, void)
