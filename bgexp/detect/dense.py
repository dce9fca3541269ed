"""The dense part of a Mask R-CNN: backbone, FPN and the RPN's head, which see the whole picture.

Nearly all of the arithmetic is here, and none of it depends on the objects in the image.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FeaturePyramidNetwork


class DenseOutput(NamedTuple):
    """The dense part's outputs for B pictures, one tensor for each level of the pyramid.

    Attributes:
        features: BxHxWxC.
        objectness: BxAxHxW, one logit for each anchor.
        deltas: Bx4AxHxW, from anchors to proposals.
    """

    features: tuple[Tensor, ...]
    objectness: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]


# Takes Bx3xHxW float32, normalised.
Dense = Callable[[Tensor], DenseOutput]


class DenseNetwork(nn.Module):
    """The dense part of a model, as a network of its own."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.rpn.head

    def forward(self, x: Tensor) -> DenseOutput:
        """Run the dense part on Bx3xHxW float32, normalised; H and W are multiples of 32."""
        features = list(self.backbone(x).values())
        objectness, deltas = self.head(features)
        channels_last = tuple(feature.permute(0, 2, 3, 1) for feature in features)
        return DenseOutput(channels_last, tuple(objectness), tuple(deltas))


class Pyramid(nn.Module):
    """An FPN whose levels halve exactly, without copies as large as its levels.

    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
    """

    def __init__(self, fpn: FeaturePyramidNetwork) -> None:
        super().__init__()
        self._inner, self._layers, self._extra = (
            fpn.inner_blocks,
            fpn.layer_blocks,
            fpn.extra_blocks,
        )

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn the backbone's maps, BxCxHxW by name from fine to coarse, into the pyramid's."""
        levels = [inner(feature) for inner, feature in zip(self._inner, x.values(), strict=True)]
        for coarse, fine in pairwise(reversed(levels)):
            height, width = coarse.shape[2:]
            cells = fine.unflatten(3, (width, 2)).unflatten(2, (height, 2))
            cells += coarse[:, :, :, None, :, None]
        outputs = [layer(level) for layer, level in zip(self._layers, levels, strict=True)]
        names = list(x)
        if self._extra is not None:
            outputs, names = self._extra(outputs, list(x.values()), names)
        return OrderedDict(zip(names, outputs, strict=True))


def build_eager_dense(model: MaskRCNN, dtype: torch.dtype) -> Dense:
    """Build the dense part that torch computes."""
    model.backbone.fpn = Pyramid(model.backbone.fpn)
    # Channels-last takes half of the backbone's time on a CPU.
    network = DenseNetwork(model).to(dtype).to(memory_format=torch.channels_last)

    def run(x: Tensor) -> DenseOutput:
        x = x.to(dtype, memory_format=torch.channels_last)
        features, objectness, deltas = network(x)
        floats = [tuple(level.float() for level in levels) for levels in (objectness, deltas)]
        return DenseOutput(features, *floats)

    return run
