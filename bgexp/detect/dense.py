"""The dense part of a Mask R-CNN: backbone, FPN and the RPN's head, which see the whole picture.

Nearly all of the arithmetic is here, and nothing of it depends on what is found.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN


class DenseOutput(NamedTuple):
    """What the dense part says of B pictures, a tensor a level of the pyramid.

    Attributes:
        features: BxHxWxC.
        objectness: BxAxHxW, a logit an anchor.
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
        """Bx3xHxW, H and W multiples of 32."""
        features = list(self.backbone(x).values())
        objectness, deltas = self.head(features)
        channels_last = tuple(one.permute(0, 2, 3, 1) for one in features)
        return DenseOutput(channels_last, tuple(objectness), tuple(deltas))


def eager_dense(model: MaskRCNN, dtype: torch.dtype) -> Dense:
    """The dense part by torch itself."""
    # Half of the backbone's time on a processor.
    network = DenseNetwork(model).to(dtype).to(memory_format=torch.channels_last)

    def run(x: Tensor) -> DenseOutput:
        x = x.to(dtype, memory_format=torch.channels_last)
        features, objectness, deltas = network(x)
        floats = [tuple(one.float() for one in levels) for levels in (objectness, deltas)]
        return DenseOutput(features, *floats)

    return run
