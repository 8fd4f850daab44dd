"""The local networks: one small network a landmark, all run as one grouped convolution.

After the local networks of Noothout et al., IEEE TMI 39(12):4011-4022, 2020 (arXiv 2007.05295). The grouping,
the number of levels and batch normalisation are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anatomark.nets.cpu import avg_pool2, convolve, matching_layout, to_channels_last_
from anatomark.nets.layers import Folding, conv, folded
from anatomark.nets.split_batch import batch_norm

EPS = 1e-5  # of the normalisation


def window_values(channels: Sequence[Sequence[int]], window: Sequence[int]) -> float:
    """About how many values the training of one landmark's network keeps for its backward pass."""
    elements, total = float(math.prod(window)), 0.0
    for level in channels:
        total += elements * sum(level) * 3
        elements /= 2 ** len(window)
    return total


class GroupedConv(Folding):
    """N convolutions of the same shape, each on its own channels; a contiguous part of them can be run alone.

    With `halve` the input is average-pooled first.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        ndim: int,
        groups: int,
        channels_in: int,
        channels: int,
        kernel: int,
        *,
        norm: bool,
        relu: bool = True,
        halve: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.kernel, self.relu, self.halve = channels, kernel, relu, halve
        template = conv(ndim)(groups * channels_in, groups * channels, kernel, groups=groups)
        self.weight = nn.Parameter(torch.empty_like(template.weight))
        self.bias = nn.Parameter(torch.zeros(groups * channels))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = norm
        if norm:
            self.scale = nn.Parameter(torch.ones(groups * channels))
            self.register_buffer("mean", torch.zeros(groups * channels))
            self.register_buffer("variance", torch.ones(groups * channels))

    def fold(self) -> tuple[Tensor, Tensor]:
        if not self.norm:
            return self.weight.detach(), self.bias.detach()  # no parameters, which would be there twice
        learned = {"mean": self.mean, "variance": self.variance, "scale": self.scale}
        return folded(self.weight, None, **learned, shift=self.bias, eps=EPS)

    def forward(self, x: Tensor, first: int, last: int) -> Tensor:
        part = slice(first * self.channels, last * self.channels)
        if self.halve:
            x = avg_pool2(x)
        where: dict[str, int] = {"padding": self.kernel // 2, "groups": last - first}
        weight, bias = self.weight[part], self.bias[part]
        if self.norm and self.training:
            x = convolve(x, weight, None, **where)
            kept = self.mean[part], self.variance[part]
            x = batch_norm(x, *kept, self.scale[part], bias, momentum=0.05, eps=EPS)
        elif self.norm:
            x = convolve(x, self.folded_weight[part], self.folded_bias[part], **where)
        else:
            x = convolve(x, weight, bias, **where)
        return F.relu(x, inplace=True) if self.relu else x


class GroupedChain(nn.Sequential):
    """Grouped convolutions one after another."""

    def forward(self, x: Tensor, first: int, last: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        for layer in self:
            x = layer(x, first, last)
        return x


class GroupedNet(nn.Module):
    """Maps windows (B, n, *window), one a landmark, to logits (B, n, *grid) and encoded displacements (B, n, d, *grid).

    With several `channels_in`, those of a landmark's window stand together: (B, n * channels_in, *window). `channels`
    lists the convolutions of each level; between levels an average pooling halves the size, so stride =
    2^(levels - 1). n landmarks starting at `first` may be run instead of all.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        channels: Sequence[Sequence[int]],
        channels_in: int = 1,
        head: int = 64,
        norm: bool = True,
        prior: float | None = None,
    ) -> None:
        super().__init__()
        self.ndim, self.landmarks, self.channels_in = ndim, landmarks, channels_in
        self.stride: int = 2 ** (len(channels) - 1)
        layers: list[GroupedConv] = []
        width = channels_in
        for level, widths in enumerate(channels):
            for number, wide in enumerate(widths):
                halve = level > 0 and number == 0
                layers.append(GroupedConv(ndim, landmarks, width, wide, 3, norm=norm, halve=halve))
                width = wide
        self.body = GroupedChain(*layers)
        self.presence = self._head(width, head, 1, prior)
        self.displacement = self._head(width, head, ndim, None)
        to_channels_last_(self)

    def _head(self, width: int, head: int, outputs: int, prior: float | None) -> GroupedChain:
        sizes = ((width, head, True), (head, head, True), (head, outputs, False))
        layers = [GroupedConv(self.ndim, self.landmarks, a, b, 1, norm=False, relu=relu) for a, b, relu in sizes]
        nn.init.normal_(layers[-1].weight, std=0.01)
        if prior is not None:
            nn.init.constant_(layers[-1].bias, math.log(prior / (1 - prior)))
        return GroupedChain(*layers)

    def forward(self, x: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        last = first + x.shape[1] // self.channels_in
        features = self.body(matching_layout(x), first, last)
        logits = self.presence(features, first, last)
        displacement = self.displacement(features, first, last)
        return logits, displacement.view(len(x), last - first, self.ndim, *displacement.shape[2:])
