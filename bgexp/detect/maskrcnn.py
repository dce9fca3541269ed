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
from bgexp.detect.dense import Dense, build_eager_dense
from bgexp.detect.detections import Detections, Selection
from bgexp.detect.fast_convolutions import optimize_convolutions
from bgexp.detect.roi_align import RoIAlign


def set_strides(model: MaskRCNN, finest: int, coarsest: int) -> MaskRCNN:
    """Set the strides of the RoI poolers' feature maps; return the model.

    By default they guess them from the first picture they see and keep that for all others: a
    first picture of 40 pixels' height, padded to 64, would spoil every later one.

    Args:
        model: A model whose feature maps have strides 2**finest to 2**coarsest.
        finest: log2 of the smallest stride.
        coarsest: log2 of the largest stride.
    """
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        pool.scales = [2.0**-level for level in range(finest, coarsest + 1)]
        pool.map_levels = initLevelMapper(finest, coarsest)
    return model


class Limits(NamedTuple):
    """The sides to which a network scales an image, in pixels: its `min_size` and `max_size`."""

    shorter: int
    longer: int


@dataclass(frozen=True, eq=False)
class Picture:
    """An image scaled for a network.

    Attributes:
        pixels: hxwx3 float32 RGB, 0 to 255: rounding to whole levels would change the masks
            (IoU 0.99).
        scale: Of y and x: the image's pixels to one of these.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """

    pixels: NDArray[np.float32]
    scale: tuple[float, float]
    height: int
    width: int


def make_picture(image: NDArray[np.uint8], limits: Limits) -> Picture:
    """Scale an image, HxWx3 uint8 RGB, on the CPU, so that every device gets the same pixels."""
    thick = _pad_thin_image(image, limits.longer)
    height, width = thick.shape[:2]
    scale = min(limits.shorter / min(height, width), limits.longer / max(height, width))
    size = int(height * scale), int(width * scale)
    pixels = np.asarray(cv2.resize(thick.astype(np.float32), size[::-1]), np.float32)
    return Picture(pixels, (height / size[0], width / size[1]), *image.shape[:2])


def read_limits(transform: GeneralizedRCNNTransform) -> Limits:
    """Return the limits of the model that the transform belongs to."""
    return Limits(transform.min_size[-1], int(transform.max_size))


def make_batch(
    pictures: Sequence[Picture], transform: GeneralizedRCNNTransform, device: torch.device
) -> Tensor:
    """Return Bx3xhxw float32 on the device, normalised, padded to multiples of the stride."""
    tensors = [torch.from_numpy(picture.pixels).to(device).permute(2, 0, 1) for picture in pictures]
    normalised = [transform.normalize(tensor / 255) for tensor in tensors]
    batch: Tensor = transform.batch_images(normalised, transform.size_divisible)
    return batch


class MaskRCNNDetector:
    """A Mask R-CNN ready to detect: weights loaded, in evaluation mode, on its device.

    Attributes:
        selection: Which detections count.
        limits: The sides to which it scales images.
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
        """Set the model up for inference, in place.

        Args:
            model: With its weights; not to be used by others afterwards.
            device: Where it computes.
            score_floor: The mask head runs only for detections above it.
            selection: As above.
            dtype: Of the arithmetic; scores, boxes and masks are finished in float32.
            dense: The dense part where another runtime computes it; None: torch does.
        """
        fold_norms(model.eval().to(device))
        if dtype == torch.float32 and device.type == "cpu":
            optimize_convolutions(model.roi_heads if dense else model)
        self._device, self._dense = device, dense or build_eager_dense(model, dtype)
        self._transform, self._rpn, self._heads = model.transform, model.rpn, model.roi_heads
        self.limits = read_limits(model.transform)
        self._rpn.head = _PrecomputedHead()
        self._heads.score_thresh = score_floor
        _set_up_heads(self._heads, dtype)
        self.selection = selection

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """Detect in an image, HxWx3 uint8 RGB; return all detections above the score floor."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect in each of several images, as `detect_pictures` does."""
        return self.detect_pictures([make_picture(image, self.limits) for image in images])

    @torch.inference_mode()
    def detect_pictures(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in each of several pictures; fastest if they have one size.

        Where a GPU's memory does not hold them, they are processed in halves.

        Raises:
            torch.OutOfMemoryError: It does not hold a single one.
        """
        try:
            return self._run_network(pictures)
        except torch.OutOfMemoryError:
            if len(pictures) == 1:
                raise
        half = len(pictures) // 2  # outside of `except`: what it holds keeps the memory
        return self.detect_pictures(pictures[:half]) + self.detect_pictures(pictures[half:])

    def _run_network(self, pictures: Sequence[Picture]) -> list[Detections]:
        batch = make_batch(pictures, self._transform, self._device)
        sizes = [(p.pixels.shape[0], p.pixels.shape[1]) for p in pictures]
        levels, self._rpn.head.objectness, self._rpn.head.deltas = self._dense(batch)
        names = map(str, range(len(levels)))
        features = OrderedDict(
            zip(names, (level.permute(0, 3, 1, 2) for level in levels), strict=True)
        )
        proposals, _ = self._rpn(ImageList(batch, sizes), features)
        outputs, _ = self._heads(features, proposals, sizes)
        return [_make_detections(*pair) for pair in zip(outputs, pictures, strict=True)]


class _PrecomputedHead(nn.Module):
    """An RPN head whose outputs the dense part has already computed."""

    objectness: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]

    def forward(self, _features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return list(self.objectness), list(self.deltas)


class _Float(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def _set_up_heads(heads: RoIHeads, dtype: torch.dtype) -> None:
    """Let both heads compute in the type, on RoIs pooled fast; their outputs are float32."""
    heads.box_roi_pool = RoIAlign(heads.box_roi_pool, dtype)
    heads.mask_roi_pool = RoIAlign(heads.mask_roi_pool, dtype)
    # The predictor stays float32: class scores are too close to each other for a short type.
    heads.box_head = nn.Sequential(heads.box_head.to(dtype), _Float())
    heads.mask_head = heads.mask_head.to(dtype)
    heads.mask_predictor = nn.Sequential(heads.mask_predictor.to(dtype), _Float())


def _pad_thin_image(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Pad an image that is so thin that no pixel would be left of it at the network's size."""
    height, width = image.shape[:2]
    least = max(height, width) / longest
    if min(height, width) >= least:
        return image
    side = int(least) + 2
    ends = 0, max(0, side - height), 0, max(0, side - width)
    return np.asarray(cv2.copyMakeBorder(image, *ends, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _make_detections(output: dict[str, Tensor], picture: Picture) -> Detections:
    """Convert the heads' output for a picture to detections in the pixels of its image."""
    masks = output["masks"][:, 0].mul(255).round().byte()
    boxes, labels, scores = (output[key].cpu().numpy() for key in ("boxes", "labels", "scores"))
    return Detections(
        boxes=(boxes * np.tile(picture.scale[::-1], 2)).astype(np.float32),
        labels=labels.astype(np.int64),
        scores=scores.astype(np.float32),
        masks=masks.cpu().numpy(),
        height=picture.height,
        width=picture.width,
    )
