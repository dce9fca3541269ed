"""Images of finished runs, read anew with their truth and with the mask that each run gave them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bgexp.datasets.load import load_item
from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Dataset, Item
from bgexp.images.decode import ImageError
from bgexp.tracking.run_folder import RunFolder, open_masks


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """An image with its truth and the masks that runs gave it.

    Attributes:
        item: The image in the dataset.
        image: HxWx3 uint8 RGB, upright.
        truth: Of the same size; None without truth.
        masks: By run folder, HxW bool.
    """

    item: Item
    image: NDArray[np.uint8]
    truth: Truth | None
    masks: dict[RunFolder, NDArray[np.bool_]]


def read_masked_images(
    paths: Iterable[str], folders: Sequence[RunFolder], dataset: Dataset, max_megapixels: float
) -> Iterator[MaskedImage]:
    """Yield the images with these paths, in this order, for which every run has a mask.

    An image that changed or vanished since is left out, and so is one whose mask does not fit.
    """
    items = {item.path: item for item in dataset.items}
    with open_masks(folders) as archives:
        for path in paths:
            with suppress(ImageError, KeyError):  # KeyError: it is not in the dataset any more
                image, truth = load_item(items[path], max_megapixels)
                masks = {
                    folder: archive.read(path)
                    for folder, archive in zip(folders, archives, strict=True)
                }
                if all(mask.shape == image.shape[:2] for mask in masks.values()):
                    yield MaskedImage(items[path], image, truth, masks)
