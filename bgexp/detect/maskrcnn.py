"""Runs a torchvision Mask R-CNN on one image, without ever pasting a mask at full size."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops.poolers import initLevelMapper

from bgexp.backbone import fold_norms
from bgexp.detections import Detections


class _BoxesOnly(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Torchvision's transform whose post-processing rescales boxes and leaves masks at MxM."""

    def postprocess(
        self,
        result: list[dict[str, torch.Tensor]],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[dict[str, torch.Tensor]]:
        """Boxes in pixels of the original images; masks stay N x 1 x M x M."""
        for found, shape, original in zip(result, image_shapes, original_image_sizes, strict=True):
            found["boxes"] = resize_boxes(found["boxes"], shape, original)
        return result


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


class MaskRCNNDetector:
    """A Mask R-CNN ready to detect: weights loaded, in evaluation mode, on its device.

    Attributes:
        score_threshold: Detections count where their score is above it.
        labels: Class ids that count; None for all.
    """

    def __init__(
        self,
        model: MaskRCNN,
        device: torch.device,
        *,
        score_floor: float,
        score_threshold: float,
        labels: frozenset[int] | None,
    ) -> None:
        old = model.transform
        model.transform = _BoxesOnly(
            old.min_size, old.max_size, old.image_mean, old.image_std, old.size_divisible
        )
        # The mask head runs for what is above the floor only.
        model.roi_heads.score_thresh = score_floor
        fold_norms(model)
        # Half of the backbone's time on a processor; the heads gain nothing from it.
        model.backbone.to(memory_format=torch.channels_last)
        self._model = model.eval().to(device)
        self._device = device
        self.score_threshold, self.labels = score_threshold, labels

    @torch.inference_mode()
    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """What the network finds above its score floor in an image, HxWx3 uint8 RGB."""
        height, width = image.shape[:2]
        least = max(height, width) / self._model.transform.max_size
        if min(height, width) < least:  # it would have no pixel left at the network's input
            side = int(least) + 2
            ends = 0, max(0, side - height), 0, max(0, side - width)
            padded = cv2.copyMakeBorder(image, *ends, borderType=cv2.BORDER_REPLICATE)
            image = np.asarray(padded, np.uint8)
        tensor = torch.from_numpy(image).to(self._device).permute(2, 0, 1).float().div_(255)
        found = self._model([tensor])[0]
        found["masks"] = found["masks"][:, 0].mul(255).round().byte()
        found = {key: value.cpu().numpy() for key, value in found.items()}
        return Detections(
            boxes=found["boxes"].astype(np.float32),
            labels=found["labels"].astype(np.int64),
            scores=found["scores"].astype(np.float32),
            masks=found["masks"],
            height=height,
            width=width,
        )
