"""The global network: a residual network without a decoder, with two heads on its feature map.

After Noothout et al., IEEE TMI 39(12):4011-4022, 2020 (arXiv 2007.05295): a strided stem, four residual
stages, some of which begin with an average pooling, and heads of 1x1 convolutions for presence and displacement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from anatomark.nets.cpu import matching_layout, to_channels_last_
from anatomark.nets.layers import AveragePool2, Chain, Conv, batch_norm, bias_of, conv


def crop_values(
    crop: Sequence[int], *, stem: int, blocks: Sequence[int], channels: Sequence[int], downsample: Sequence[bool]
) -> float:
    """About how many values the training of the network keeps of a crop for its backward pass."""
    elements = math.prod(crop) / 2 ** len(crop)
    total = elements * stem * 3
    for count, wide, down in zip(blocks, channels, downsample, strict=True):
        elements /= 2 ** len(crop) if down else 1
        total += elements * wide * count * 6
    return total


class ResidualBlock(nn.Module):
    """conv3-BN-ReLU-conv3-BN-ReLU, then the shortcut is added (1x1 convolution where channels change)."""

    def __init__(self, ndim: int, channels_in: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c in (channels_in, channels):
            layers += [
                conv(ndim)(c, channels, 3, padding=1, bias=False),
                batch_norm(ndim)(channels),
                nn.ReLU(inplace=True),
            ]
        self.body = Chain(*layers)
        self.shortcut = nn.Identity() if channels_in == channels else conv(ndim)(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class ResidualNet(nn.Module):
    """Maps an image (B, 1, *spatial) to logits (B, N, *grid) and encoded displacements (B, N, d, *grid).

    `grid` is spatial / stride, where stride = 2 * 2^(number of true entries of `downsample`); each spatial size must be
    a multiple of the stride. `prior` is the probability of presence a patch starts with.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        stem: int = 16,
        blocks: Sequence[int] = (3, 4, 6, 3),
        channels: Sequence[int] = (32, 64, 128, 256),
        downsample: Sequence[bool] = (False, True, True, False),
        head: int = 256,
        prior: float | None = None,
    ) -> None:
        super().__init__()
        self.ndim, self.landmarks = ndim, landmarks
        self.stride: int = 2 * 2 ** sum(downsample)
        layers: list[nn.Module] = [
            conv(ndim)(1, stem, 7, stride=2, padding=3, bias=False),
            batch_norm(ndim)(stem),
            nn.ReLU(inplace=True),
        ]
        width = stem
        for count, wide, down in zip(blocks, channels, downsample, strict=True):
            if down:
                layers += [AveragePool2(), batch_norm(ndim)(width), nn.ReLU(inplace=True)]
            for _ in range(count):
                layers.append(ResidualBlock(ndim, width, wide))
                width = wide
        self.body = Chain(*layers)
        self.presence = self._head(width, head, landmarks)
        self.displacement = self._head(width, head, landmarks * ndim)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for last in (cast("Conv", head[-1]) for head in (self.presence, self.displacement)):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(bias_of(last))
            if prior is not None and last is self.presence[-1]:
                nn.init.constant_(bias_of(last), math.log(prior / (1 - prior)))
        to_channels_last_(self)

    def _head(self, width: int, head: int, outputs: int) -> Chain:
        one = conv(self.ndim)
        return Chain(
            one(width, head, 1),
            nn.ReLU(inplace=True),
            one(head, head, 1),
            nn.ReLU(inplace=True),
            one(head, outputs, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, displacement, _ = self.look_over(x)
        return logits, displacement

    def look_over(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` gives, and the features (B, C, *grid) that both heads see."""
        features = self.body(matching_layout(x))
        logits = self.presence(features)
        displacement = self.displacement(features)
        shape = (len(x), self.landmarks, self.ndim, *displacement.shape[2:])
        return logits, displacement.view(shape), features
