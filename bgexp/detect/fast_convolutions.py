"""Convolutions as torch computes them fastest on a processor, in float32.

Torch's own choice is made for training and for many threads. Two kinds gain by another: wide 3x3
convolutions, of which FPN and RPN are made, and 1x1 convolutions in processes of one thread.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

NARROWEST = 256  # channels; with fewer the transforms cost as much as the products save
INPUTS, OUTPUTS = 6, 4  # sides of a tile
TILES = 256  # at once: so that the intermediate results fit the processor's cache
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

# Lavin and Gray's B^T, 24 G and A^T, for the columns of inputs, kernels and products.
_INPUT_TRANSFORM = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_KERNEL_TRANSFORM_24 = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
_OUTPUT_TRANSFORM = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]


def optimize_convolutions(module: nn.Module) -> None:
    """Replace the convolutions within a module that are computed faster here.

    For evaluation, after the norms were folded.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(module, name, _choose_faster(child))
        else:
            optimize_convolutions(child)


def _choose_faster(conv: nn.Conv2d) -> nn.Module:
    form = conv.kernel_size, conv.padding, conv.stride, conv.dilation, conv.groups
    if form == ((1, 1), (0, 0), (1, 1), (1, 1), 1) and _HAS_ONEDNN:
        return OneDnnConv2d(conv)
    wide = min(conv.in_channels, conv.out_channels) >= NARROWEST
    if form == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and wide and conv.padding_mode == "zeros":
        return WinogradConv2d(conv)
    return conv


class OneDnnConv2d(nn.Module):
    """A 1x1 convolution by oneDNN; with one thread torch would copy its bias everywhere first."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._weight, self._bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """Convolve BxCxHxW float32 to BxOxHxW float32."""
        return torch.mkldnn_convolution(x, self._weight, self._bias, (0, 0), (1, 1), (1, 1), 1)


class WinogradConv2d(nn.Module):
    """A 3x3 convolution by a quarter of the products; differs by 1e-5 of its largest output.

    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, F(4x4, 3x3):
    4x4 outputs come from a tile of 6x6 inputs by 36 products a pair of channels, where the
    definition takes 144. All of its steps are matrix products.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        input_transform, kernel_transform, output_transform = (
            torch.tensor(rows, dtype=torch.float64)
            for rows in (_INPUT_TRANSFORM, _KERNEL_TRANSFORM_24, _OUTPUT_TRANSFORM)
        )
        kernel = torch.einsum(
            "ya,ocab,xb->yxco", kernel_transform, conv.weight.detach().double(), kernel_transform
        )
        self._kernel = (kernel / 24**2).flatten(0, 1).float().contiguous()  # 36xCxO
        self._bias = torch.zeros(()) if conv.bias is None else conv.bias.detach()
        self._input_transform = torch.kron(input_transform, input_transform).float()
        self._output_transform = torch.kron(output_transform, output_transform).float()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve BxCxHxW float32 to BxOxHxW float32; fastest in channels-last memory."""
        batch, _, height, width = x.shape
        rows, columns = -(-height // OUTPUTS), -(-width // OUTPUTS)
        output = x.new_empty(batch, rows, OUTPUTS, columns, OUTPUTS, self._kernel.shape[2])
        n_pictures, step = max(1, TILES // (rows * columns)), max(1, TILES // columns)
        x = x.permute(0, 2, 3, 1)
        for pictures, targets in zip(
            torch.split(x, n_pictures), torch.split(output, n_pictures), strict=True
        ):
            for top in range(0, rows, step):
                target = targets[:, top : top + step]
                first, last = OUTPUTS * top - 1, OUTPUTS * (top + target.shape[1]) + 1
                ends = 0, 0, 1, OUTPUTS * columns + 1 - width, int(top == 0), max(0, last - height)
                self._convolve_strip(
                    functional.pad(pictures[:, max(0, first) : last], ends), target
                )
        joined = output.flatten(3, 4).flatten(1, 2)
        return joined[:, :height, :width].permute(0, 3, 1, 2)

    def _convolve_strip(self, padded: Tensor, target: Tensor) -> None:
        """Convolve some rows of tiles: inputs BxHxWxC, outputs into the target, BxRx4xTx4xO."""
        tiles = padded.unfold(1, INPUTS, OUTPUTS).unfold(2, INPUTS, OUTPUTS)
        inputs = tiles.permute(0, 1, 2, 4, 5, 3).flatten(3, 4).flatten(0, 2)
        inputs = self._input_transform @ inputs
        products = inputs.new_empty(len(inputs), INPUTS**2, target.shape[-1])
        torch.bmm(inputs.transpose(0, 1), self._kernel, out=products.transpose(0, 1))
        outputs = (self._output_transform @ products).view(target.transpose(2, 3).shape)
        torch.add(outputs.transpose(2, 3), self._bias, out=target)
