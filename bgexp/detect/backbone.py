"""MobileNetV2 as the backbone of bgexp's own networks, and norms folded into convolutions."""

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models import mobilenet_v2
from torchvision.ops import FrozenBatchNorm2d

FROZEN_BLOCKS = 7  # edges and colours: the ImageNet weights serve as they are


class FoldedSequential(nn.Sequential):
    """A Sequential that runs each convolution and the frozen norm after it as one convolution.

    The norm's scale goes into the weights, which are small, and not over the picture, which is
    large. Parameter names stay those of a plain Sequential.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the layers: NxCxHxW float32 to NxCxHxW float32."""
        layers = list(self)
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            if isinstance(following, FrozenBatchNorm2d):
                x = _convolve(x, cast(nn.Conv2d, layer), following)
            elif not isinstance(layer, FrozenBatchNorm2d):
                x = layer(x)
        return x


def build_mobilenet_blocks(last: int) -> FoldedSequential:
    """Build MobileNetV2's blocks 0 to `last` with frozen norms, the first ones not trainable."""
    plain = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d).features
    blocks = _fold_sequentials(plain[: last + 1])
    for block in blocks[:FROZEN_BLOCKS]:
        block.requires_grad_(False)
    return blocks


def load_imagenet(body: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load torchvision's ImageNet weights of a MobileNetV2 or a ResNet into a backbone made of it.

    Raises:
        KeyError: The state is of another network.
        RuntimeError: It is of the same kind in another size.
    """
    prefix = "features." if any(name.startswith("features.") for name in state) else ""
    names = [name for name in body.state_dict() if not name.endswith("num_batches_tracked")]
    body.load_state_dict({name: state[prefix + name] for name in names}, strict=False)


def fold_norms(module: nn.Module) -> None:
    """Fold every norm's fixed scale and shift into the convolution before it, in place.

    Outputs stay the same up to the last digits; for evaluation only.
    """
    children = list(module.named_children())
    for (_, conv), (name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d | nn.BatchNorm2d):
            mean, variance = (
                cast(torch.Tensor, norm.running_mean),
                cast(torch.Tensor, norm.running_var),
            )
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
            )
            setattr(module, name, nn.Identity())
    for _, child in children:
        fold_norms(child)


def freeze_norms(module: nn.Module) -> None:
    """Replace every batch norm by a frozen one: small batches give it poor statistics."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps)
            frozen.load_state_dict(child.state_dict())
            setattr(module, name, frozen)
        else:
            freeze_norms(child)


def _convolve(x: torch.Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> torch.Tensor:
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return functional.conv2d(
        x,
        conv.weight * scale[:, None, None, None],
        norm.bias - norm.running_mean * scale,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
    )


def _fold_sequentials(blocks: Iterable[nn.Module]) -> FoldedSequential:
    """Replace every Sequential in the blocks by a folded one."""
    blocks = list(blocks)
    for block in blocks:
        for name, child in block.named_children():
            if isinstance(child, nn.Sequential):
                setattr(block, name, _fold_sequentials(child))
    return FoldedSequential(
        *(
            FoldedSequential(*block) if isinstance(block, nn.Sequential) else block
            for block in blocks
        )
    )
