"""Load one item of a dataset: the image and its truth."""

import numpy as np
from numpy.typing import NDArray

from bgexp.datasets.coco_masks import decode_truth
from bgexp.datasets.read import Item
from bgexp.images.decode import ImageError, decode_image, decode_mask, read_bytes
from bgexp.system.hashing import hash_bytes

ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]


def load_item(item: Item, max_megapixels: float) -> tuple[ByteArray, BoolArray | None]:
    """Load an image, HxWx3 uint8 RGB, upright, and its truth, HxW bool, True = foreground, if any.

    Raises:
        ImageError: One of them cannot be read, or they are not of one size.
    """
    data = read_bytes(item.file)
    if hash_bytes(data) != item.sha256:
        raise ImageError("the file changed after the run had begun")
    image = decode_image(data, max_megapixels)
    return image, _load_truth(item, image)


def _load_truth(item: Item, image: ByteArray) -> BoolArray | None:
    if item.annotations is not None:
        return decode_truth(item.annotations, (image.shape[0], image.shape[1]))
    if item.mask is None:
        return None
    try:
        truth = decode_mask(read_bytes(item.mask))
    except ImageError as error:
        raise ImageError(f"its mask: {error}") from error
    if truth.shape != image.shape[:2]:
        (h, w), (height, width) = truth.shape, image.shape[:2]
        raise ImageError(f"its mask has {w}x{h} pixels, the upright image {width}x{height}")
    return truth
