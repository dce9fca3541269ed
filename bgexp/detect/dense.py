"""The dense part of a Mask R-CNN: backbone, FPN and the RPN's head, which see the whole picture.

Nearly all of the arithmetic is here, and nothing of it depends on what is found.
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


class Pyramid(nn.Module):
    """Gives what an FPN gives whose levels halve exactly, without copies as large as its levels.

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
        """The backbone's maps, BxCxHxW by name from fine to coarse, to the pyramid's."""
        levels = [inner(one) for inner, one in zip(self._inner, x.values(), strict=True)]
        for coarse, fine in pairwise(reversed(levels)):
            height, width = coarse.shape[2:]
            cells = fine.unflatten(3, (width, 2)).unflatten(2, (height, 2))
            cells += coarse[:, :, :, None, :, None]
        found = [layer(one) for layer, one in zip(self._layers, levels, strict=True)]
        names = list(x)
        if self._extra is not None:
            found, names = self._extra(found, list(x.values()), names)
        return OrderedDict(zip(names, found, strict=True))


def eager_dense(model: MaskRCNN, dtype: torch.dtype) -> Dense:
    """The dense part by torch itself."""
    model.backbone.fpn = Pyramid(model.backbone.fpn)
    # Half of the backbone's time on a processor.
    network = DenseNetwork(model).to(dtype).to(memory_format=torch.channels_last)

    def run(x: Tensor) -> DenseOutput:
        x = x.to(dtype, memory_format=torch.channels_last)
        features, objectness, deltas = network(x)
        floats = [tuple(one.float() for one in levels) for levels in (objectness, deltas)]
        return DenseOutput(features, *floats)

    return run
