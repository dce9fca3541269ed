"""A coarse mask to a fine one by a small network that sees the picture around it.

A U-Net (Ronneberger et al., MICCAI 2015) on MobileNetV2: the coarse mask says which objects are
meant, the picture where they end. It enters the decoder at every scale, so the backbone keeps its
ImageNet weights.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torchvision.transforms.functional import normalize

from bgexp.detect.backbone import build_mobilenet_blocks, fold_norms

# MobileNetV2's blocks at strides 2, 4, 8, 16 and 32 with their channels, and the decoder's.
BLOCKS = {1: 16, 3: 24, 6: 32, 13: 96, 17: 320}
WIDTHS = (24, 40, 64, 96, 128)

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours


# The shipped weights; the model card is in the file's metadata and in docs/demo-detector.md.
WEIGHTS = Path(__file__).parent / "unet.safetensors"
WEIGHTS_SHA256 = "80aa328bf07a6e9d3d59cafa4274f29c2701bc0855101df172c2b1eb418c9096"


class UNetModel(nn.Module):
    """The U-Net; its weights are random until loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.body = build_mobilenet_blocks(max(BLOCKS))
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, width, 1)
            for channels, width in zip(BLOCKS.values(), WIDTHS, strict=True)
        )
        self.context = nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 1)
        # One channel more: the coarse mask.
        self.fuse = nn.ModuleList(_build_block(width + 1, width) for width in WIDTHS)
        self.narrow = nn.ModuleList(nn.Conv2d(wide, width, 1) for width, wide in pairwise(WIDTHS))
        self.head = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)

    def forward(self, images: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Compute logits of the foreground at half the size, Nx1xH/2xW/2 float32.

        Args:
            images: Nx3xHxW float32 RGB in [0, 1]; H and W are multiples of 32.
            coarse: Nx1xHxW float32, the coarse mask, 0 to 1.
        """
        x = normalize(images, _MEAN, _STD)
        features = []
        for number, block in enumerate(self.body):
            x = block(x)
            if number in BLOCKS:
                features.append(x)
        levels = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        x = levels[-1]
        x = x + self.context(functional.adaptive_avg_pool2d(x, 1))
        for level in reversed(range(len(WIDTHS))):
            if level < len(WIDTHS) - 1:
                wider = functional.interpolate(
                    self.narrow[level](x), scale_factor=2.0, mode="nearest"
                )
                x = levels[level] + wider
            mask = functional.avg_pool2d(coarse, 2 ** (level + 1))
            x = self.fuse[level](torch.cat([x, mask], dim=1))
        logits: torch.Tensor = self.head(x)
        return logits


def _build_block(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class UNetPredictor:
    """The network with its weights, in evaluation mode, on its device."""

    def __init__(self, network: UNetModel, device: torch.device) -> None:
        fold_norms(network)
        self._network = network.eval().to(memory_format=torch.channels_last).to(device)
        self._device = device

    @torch.inference_mode()
    def predict(self, picture: NDArray[np.uint8], coarse: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the share of foreground, h/2 x w/2 float32 in [0, 1].

        Args:
            picture: hxwx3 uint8 RGB; h and w are multiples of 32.
            coarse: hxw uint8, the coarse mask, 0 to 255.
        """
        image = torch.from_numpy(picture).to(self._device).permute(2, 0, 1)[None].float() / 255
        mask = torch.from_numpy(coarse).to(self._device)[None, None].float() / 255
        image = image.contiguous(memory_format=torch.channels_last)
        share = self._network(image, mask)[0, 0].sigmoid().cpu().numpy()
        return np.asarray(share, np.float32)
