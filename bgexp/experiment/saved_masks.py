"""Images of finished runs, read anew with their truth and with the mask that each run gave them."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bgexp.datasets.load import load_item
from bgexp.datasets.read import Dataset, Item
from bgexp.images.decode import ImageError, decode_mask

MASKS = "masks.zip"


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """An image with its truth and the masks that runs gave it.

    Attributes:
        item: The image in the dataset.
        image: HxWx3 uint8 RGB, upright.
        truth: HxW bool, True = foreground; None without truth.
        masks: By run folder, HxW bool.
    """

    item: Item
    image: NDArray[np.uint8]
    truth: NDArray[np.bool_] | None
    masks: dict[Path, NDArray[np.bool_]]


def read_masked_images(
    paths: Iterable[str], folders: Sequence[Path], dataset: Dataset, max_megapixels: float
) -> Iterator[MaskedImage]:
    """Yield the images with these paths, in this order, for which every run has a mask.

    An image that changed or vanished since is left out, and so is one whose mask does not fit.
    """
    items = {item.path: item for item in dataset.items}
    with ExitStack() as stack:
        archives = {
            folder: stack.enter_context(zipfile.ZipFile(folder / MASKS)) for folder in folders
        }
        for path in paths:
            with suppress(ImageError, KeyError):
                image, truth = load_item(items[path], max_megapixels)
                masks = {
                    folder: decode_mask(archive.read(f"{path}.png"))
                    for folder, archive in archives.items()
                }
                if all(mask.shape == image.shape[:2] for mask in masks.values()):
                    yield MaskedImage(items[path], image, truth, masks)
