"""RoIAlign for inference as one weighted sum of feature vectors a cell.

He et al., "Mask R-CNN", ICCV 2017. A cell is the mean of bilinear samples, so it is a weighted sum
of the features around it: what an embedding bag computes, whose kernels read channels-last
features as they lie. Torchvision's own kernel gathers them channel by channel.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign


class RoIAlign(nn.Module):
    """A faster equivalent of torchvision's RoI pooler with fixed scales; no gradients."""

    def __init__(self, pooler: MultiScaleRoIAlign, dtype: torch.dtype) -> None:
        super().__init__()
        self._names, self._cells = pooler.featmap_names, pooler.output_size[0]
        self._samples = pooler.sampling_ratio
        self._scales, self._levels = pooler.scales, pooler.map_levels
        self._dtype = dtype

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], _shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Pool the features in each box to NxCxPxP.

        Args:
            features: BxCxHxW by level; best in channels-last memory.
            boxes: For each of the B pictures x1, y1, x2, y2 in its pixels, float32.
        """
        maps = [features[name] for name in self._names]
        channels, sizes = maps[0].shape[1], [(level.shape[2], level.shape[3]) for level in maps]
        rows = [m.permute(0, 2, 3, 1).reshape(-1, channels).to(self._dtype) for m in maps]
        indices, weights = self._gather(boxes, [len(level) for level in rows], sizes)
        if not len(indices):
            return rows[0].new_zeros(0, channels, self._cells, self._cells)
        pooled = functional.embedding_bag(
            indices, torch.cat(rows), per_sample_weights=weights.to(self._dtype), mode="sum"
        )
        cells = pooled.reshape(-1, self._cells, self._cells, channels)
        return cells.permute(0, 3, 1, 2)

    def _gather(
        self, boxes: list[Tensor], lengths: list[int], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Return each cell's rows of features and their weights for all boxes, (NPP, K) each."""
        corners = torch.cat(boxes)
        level = self._levels(boxes)
        shape = corners.new_tensor(sizes)[level]
        offset = torch.tensor([0, *lengths[:-1]], device=corners.device).cumsum(0)[level]
        picture_index = torch.cat([torch.full_like(b[:, 0], n) for n, b in enumerate(boxes)])
        offset += (picture_index * shape.prod(1)).long()
        scaled = corners * corners.new_tensor(self._scales)[level, None]
        y, y_weights = self._interpolate_axis(scaled[:, 1], scaled[:, 3], shape[:, 0, None])
        x, x_weights = self._interpolate_axis(scaled[:, 0], scaled[:, 2], shape[:, 1, None])
        y = y * shape[:, 1].long()[:, None, None] + offset[:, None, None]
        indices = y[:, :, None, :, None] + x[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        terms = (2 * self._samples) ** 2
        return indices.reshape(-1, terms), weights.reshape(-1, terms)

    def _interpolate_axis(
        self, first: Tensor, last: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return for each cell the features it is made of on one axis and their weights, NxPx2S."""
        count = self._cells * self._samples
        step = (last - first).clamp(min=1)[:, None] / count
        position = first[:, None] + step * (torch.arange(count, device=first.device) + 0.5)
        inside = (position >= -1) & (position <= length)
        position = torch.minimum(position.clamp(min=0), length - 1)
        low = torch.minimum(position.floor(), (length - 2).clamp(min=0))
        share = position - low
        neighbours = torch.stack([low, torch.minimum(low + 1, length - 1)], -1).long()
        weights = torch.stack([1 - share, share], -1) * inside[..., None] / self._samples
        shape = len(first), self._cells, 2 * self._samples
        return neighbours.reshape(shape), cast(Tensor, weights.reshape(shape))
