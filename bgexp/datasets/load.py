"""Load one item of a dataset: the image and its truth."""

import numpy as np
from numpy.typing import NDArray

from bgexp.datasets.coco_masks import decode_truth
from bgexp.datasets.mask_rule import Truth
from bgexp.datasets.read import Item
from bgexp.images.decode import ImageError, decode_image, read_bytes
from bgexp.system.hashing import hash_bytes

ByteArray = NDArray[np.uint8]

TURNED = "turned by 90 degrees"  # in the reason where the mask's sides are swapped


def load_item(item: Item, max_megapixels: float) -> tuple[ByteArray, Truth | None]:
    """Load an image, HxWx3 uint8 RGB, upright, and its truth of the same size, if any.

    Raises:
        ImageError: One of them cannot be read, or they are not of one size.
    """
    data = read_bytes(item.file)
    if hash_bytes(data) != item.sha256:
        raise ImageError("the file changed after the run had begun")
    image = decode_image(data, max_megapixels)
    return image, _load_truth(item, image)


def _load_truth(item: Item, image: ByteArray) -> Truth | None:
    if item.annotations is not None:
        return Truth(decode_truth(item.annotations, (image.shape[0], image.shape[1])))
    if item.mask is None:
        return None
    try:
        truth = item.mask_rule.decode(read_bytes(item.mask))
    except ImageError as error:
        raise ImageError(f"its mask: {error}") from error
    check_size(truth.foreground, image)
    return truth


def check_size(mask: NDArray[np.generic], image: ByteArray) -> None:
    """Raise ImageError where a mask, HxW, is not of the size of its image, HxWx3."""
    (h, w), (height, width) = mask.shape, image.shape[:2]
    if (h, w) != (height, width):
        turned = f" ({TURNED})" if (h, w) == (width, height) else ""
        raise ImageError(f"its mask has {w}x{h} pixels, the upright image {width}x{height}{turned}")
