"""Runs a torchvision Mask R-CNN on images, without ever pasting a mask at full size."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.poolers import initLevelMapper

from bgexp.detect.backbone import fold_norms
from bgexp.detect.dense import Dense, eager_dense
from bgexp.detect.detections import Detections, Selection
from bgexp.detect.fast_convolutions import optimize_convolutions
from bgexp.detect.roi_align import RoIAlign


def fix_strides(model: MaskRCNN, finest: int, coarsest: int) -> MaskRCNN:
    """Tells the RoI poolers the strides of their feature maps; returns the model.

    By themselves they guess them from the first picture they see and keep that for all others: a
    first picture of 40 pixels' height, padded to 64, would spoil every later one.

    Args:
        model: Its feature maps have strides 2**finest to 2**coarsest, one each.
        finest: log2 of the smallest stride.
        coarsest: log2 of the largest stride.
    """
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        pool.scales = [2.0**-level for level in range(finest, coarsest + 1)]
        pool.map_levels = initLevelMapper(finest, coarsest)
    return model


class Limits(NamedTuple):
    """The sides at which a network sees an image, in pixels: what `min_size` and `max_size` say."""

    shorter: int
    longer: int


@dataclass(frozen=True, eq=False)
class Picture:
    """An image as a network is to see it.

    Attributes:
        pixels: hxwx3 float32 RGB, 0 to 255: rounded to whole levels the masks would be others
            (IoU 0.99).
        scale: Of y and x: the image's pixels to one of these.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """

    pixels: NDArray[np.float32]
    scale: tuple[float, float]
    height: int
    width: int


def as_picture(image: NDArray[np.uint8], limits: Limits) -> Picture:
    """Scales an image, HxWx3 uint8 RGB; on the processor, so that every device sees the same."""
    seen = _thickened(image, limits.longer)
    height, width = seen.shape[:2]
    scale = min(limits.shorter / min(height, width), limits.longer / max(height, width))
    size = int(height * scale), int(width * scale)
    pixels = np.asarray(cv2.resize(seen.astype(np.float32), size[::-1]), np.float32)
    return Picture(pixels, (height / size[0], width / size[1]), *image.shape[:2])


def limits_of(transform: GeneralizedRCNNTransform) -> Limits:
    """As the model that it belongs to has them."""
    return Limits(transform.min_size[-1], int(transform.max_size))


def as_input(
    pictures: Sequence[Picture], transform: GeneralizedRCNNTransform, device: torch.device
) -> Tensor:
    """Bx3xhxw float32 on the device, normalised, padded to multiples of the network's stride."""
    tensors = [torch.from_numpy(one.pixels).to(device).permute(2, 0, 1) for one in pictures]
    normalised = [transform.normalize(one / 255) for one in tensors]
    batch: Tensor = transform.batch_images(normalised, transform.size_divisible)
    return batch


class MaskRCNNDetector:
    """A Mask R-CNN ready to detect: weights loaded, in evaluation mode, on its device.

    Attributes:
        selection: Which detections count.
        limits: What it takes pictures of.
    """

    def __init__(  # what it is, and how it computes
        self,
        model: MaskRCNN,
        device: torch.device,
        *,
        score_floor: float,
        selection: Selection,
        dtype: torch.dtype = torch.float32,
        dense: Dense | None = None,
    ) -> None:
        """Takes the model over.

        Args:
            model: With its weights.
            device: Where it computes.
            score_floor: The mask head runs for what is above it only.
            selection: As above.
            dtype: Of the arithmetic; scores, boxes and masks are finished in float32.
            dense: The dense part where another program runs it; None: torch.
        """
        fold_norms(model.eval().to(device))
        if dtype == torch.float32 and device.type == "cpu":
            optimize_convolutions(model.roi_heads if dense else model)
        self._device, self._dense = device, dense or eager_dense(model, dtype)
        self._transform, self._rpn, self._heads = model.transform, model.rpn, model.roi_heads
        self.limits = limits_of(model.transform)
        self._rpn.head = _PrecomputedHead()
        self._heads.score_thresh = score_floor
        _set_up(self._heads, dtype)
        self.selection = selection

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What the network finds above its score floor in an image, HxWx3 uint8 RGB."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """What it finds in each of several images, as `detect_pictures` does."""
        return self.detect_pictures([as_picture(image, self.limits) for image in images])

    @torch.inference_mode()
    def detect_pictures(self, pictures: Sequence[Picture]) -> list[Detections]:
        """What it finds in each of several pictures; best if they have one size.

        Where a GPU's memory does not hold them, they are looked at in halves.

        Raises:
            torch.OutOfMemoryError: It does not hold a single one.
        """
        try:
            return self._found(pictures)
        except torch.OutOfMemoryError:
            if len(pictures) == 1:
                raise
        half = len(pictures) // 2  # outside of `except`: what it holds keeps the memory
        return self.detect_pictures(pictures[:half]) + self.detect_pictures(pictures[half:])

    def _found(self, pictures: Sequence[Picture]) -> list[Detections]:
        batch = as_input(pictures, self._transform, self._device)
        sizes = [(one.pixels.shape[0], one.pixels.shape[1]) for one in pictures]
        levels, self._rpn.head.objectness, self._rpn.head.deltas = self._dense(batch)
        names = map(str, range(len(levels)))
        features = OrderedDict(zip(names, (one.permute(0, 3, 1, 2) for one in levels), strict=True))
        proposals, _ = self._rpn(ImageList(batch, sizes), features)
        found, _ = self._heads(features, proposals, sizes)
        return [_detections(*one) for one in zip(found, pictures, strict=True)]


class _PrecomputedHead(nn.Module):
    """Stands for the RPN's head, whose outputs came with the dense part's."""

    objectness: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]

    def forward(self, _features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return list(self.objectness), list(self.deltas)


class _Float(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def _set_up(heads: RoIHeads, dtype: torch.dtype) -> None:
    """Lets both heads compute in the type, on RoIs pooled fast; what they say is float32."""
    heads.box_roi_pool = RoIAlign(heads.box_roi_pool, dtype)
    heads.mask_roi_pool = RoIAlign(heads.mask_roi_pool, dtype)
    # The scores of single classes are too close to each other for a short type.
    heads.box_head = nn.Sequential(heads.box_head.to(dtype), _Float())
    heads.mask_head = heads.mask_head.to(dtype)
    heads.mask_predictor = nn.Sequential(heads.mask_predictor.to(dtype), _Float())


def _thickened(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """An image so thin that it would have no pixel left at the network's size, made thicker."""
    height, width = image.shape[:2]
    least = max(height, width) / longest
    if min(height, width) >= least:
        return image
    side = int(least) + 2
    ends = 0, max(0, side - height), 0, max(0, side - width)
    return np.asarray(cv2.copyMakeBorder(image, *ends, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _detections(found: dict[str, Tensor], picture: Picture) -> Detections:
    """What the heads found, as torchvision's give it, in the pixels of the picture's image."""
    masks = found["masks"][:, 0].mul(255).round().byte()
    boxes, labels, scores = (found[key].cpu().numpy() for key in ("boxes", "labels", "scores"))
    return Detections(
        boxes=(boxes * np.tile(picture.scale[::-1], 2)).astype(np.float32),
        labels=labels.astype(np.int64),
        scores=scores.astype(np.float32),
        masks=masks.cpu().numpy(),
        height=picture.height,
        width=picture.width,
    )
