"""A local network that all landmarks share, and that is told which of them it looks for.

Separate networks cost in proportion to the landmarks, and each learns from its own windows alone. Here the windows of
all landmarks teach the same convolutions; a scale and a shift a landmark after each level, as in FiLM (Perez et al.,
AAAI 2018, doi:10.1609/aaai.v32i1.11671), and a last layer of its own tell the landmarks apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anatomark.nets.cpu import matching_layout, to_channels_last_
from anatomark.nets.grouped import GroupedChain, GroupedConv

LAST_STD = 0.01


class SharedNet(nn.Module):
    """Maps windows (B, n, *window), one a landmark, to logits (B, n, *grid) and encoded displacements (B, n, d, *grid).

    `which` (n,) are the numbers of the landmarks. `channels` lists the convolutions of each level; between levels an
    average pooling halves the size, so stride = 2^(levels - 1). `prior` is the probability of presence a patch starts
    with.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        channels: Sequence[Sequence[int]],
        head: int = 64,
        norm: bool = True,
        prior: float | None = None,
    ) -> None:
        super().__init__()
        self.ndim, self.landmarks = ndim, landmarks
        self.stride: int = 2 ** (len(channels) - 1)
        levels: list[GroupedChain] = []
        width = 1
        for level, widths in enumerate(channels):
            layers: list[GroupedConv] = []
            for number, wide in enumerate(widths):
                halve = level > 0 and number == 0
                layers.append(GroupedConv(ndim, 1, width, wide, 3, norm=norm, halve=halve))
                width = wide
            levels.append(GroupedChain(*layers))
        self.levels = nn.ModuleList(levels)
        self.told = nn.ModuleList(_Told(landmarks, widths[-1]) for widths in channels)
        self.heads = nn.ModuleList(
            GroupedChain(*(GroupedConv(ndim, 1, a, b, 1, norm=False) for a, b in ((width, head), (head, head))))
            for _ in range(2)
        )
        self.last = nn.Parameter(LAST_STD * torch.randn(landmarks, 1 + ndim, head))
        self.last_bias = nn.Parameter(torch.zeros(landmarks, 1 + ndim))
        if prior is not None:
            nn.init.constant_(self.last_bias[:, 0], math.log(prior / (1 - prior)))
        to_channels_last_(self)

    def forward(self, x: Tensor, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        which = torch.arange(x.shape[1], device=x.device) if which is None else which.to(x.device)
        images, count = x.shape[:2]
        y = matching_layout(x.reshape(images * count, 1, *x.shape[2:]))
        for level, told in zip(self.levels, self.told, strict=True):
            y = told(level(y, 0, 1), which.repeat(images))
        found: list[Tensor] = []
        for head, part in zip(self.heads, (slice(0, 1), slice(1, None)), strict=True):
            z = head(y, 0, 1).flatten(2).view(images, count, -1, y[0, 0].numel())
            weight, bias = self.last[which, part], self.last_bias[which, part]
            found.append((weight @ z + bias[..., None]).reshape(images, count, -1, *y.shape[2:]))
        logits, displacement = found
        return logits[:, :, 0], displacement


class _Told(nn.Module):
    """Features (K, C, *grid) scaled and shifted as their landmarks (K,) want it; at first as they are."""

    def __init__(self, landmarks: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(landmarks, channels))
        self.shift = nn.Parameter(torch.zeros(landmarks, channels))

    def forward(self, x: Tensor, which: Tensor) -> Tensor:
        shape = (len(which), -1, *(1,) * (x.ndim - 2))
        return x * (1 + self.scale[which]).view(shape) + self.shift[which].view(shape)
