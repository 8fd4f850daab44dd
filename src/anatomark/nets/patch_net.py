"""The network of patches: unpadded convolutions, run on one patch, on a crop or on a whole image alike.

The stage-1 network of T2DL (Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106) is a
convolutional network that sees a patch; stage 2 runs the same weights fully convolutionally. The layers are this
project's: the paper's table is not public.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anatomark import votes
from anatomark.nets.cpu import channels_last, convolve, matching_layout, to_channels_last_
from anatomark.nets.layers import AveragePool2, BatchNorm, Conv, Folding, batch_norm, bias_of, conv, folded_layers

COARSE = 20.0  # elements that one unit of the coarse layer stands for
FINE = 2.0  # at most 99 elements by the encoded layer, whatever it predicts where it has learned little
AT_ONCE = {2: 48_000_000, 3: 12_000_000}  # numbers of the widest layer that are computed at a time in prediction


class Level(NamedTuple):
    """A level of the pyramid: the `layers` up to its end, and of its features the `stride`, `crop` and `channels`.

    `crop` is how many elements lie between the edge of the input and those that the first feature stands for.
    """

    layers: int
    stride: int
    crop: int
    channels: int


class Part(NamedTuple):
    """Layers `first` to `last` (exclusive), run slab by slab.

    They take `crop` elements from each side; the widest of them has `widest` channels.
    """

    first: int
    last: int
    crop: int
    widest: int


class PatchNet(nn.Module):
    """Maps an image with a margin, (B, 1, *(grid * stride + 2 * margin)), to displacements (B, N, d, *grid).

    `channels` lists the unpadded 3^d convolutions of each level; between levels an average pooling halves the size, so
    stride = 2^(levels - 1). `dilations` are those of further convolutions on the last level, `head_channels` lists the
    1x1 layers after them. Output k sees the `patch` elements from k * stride of the input on, and stands for the
    `stride` elements from k * stride of the image without its margin, which are the middle of those. Displacements are
    in elements, and the sum of two layers: a linear one, since all of them are linear in where the patch lies, and an
    encoded one (`votes.decode`), which makes short ones exact.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        channels: Sequence[Sequence[int]],
        dilations: Sequence[int] = (),
        head_channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.ndim, self.landmarks = ndim, landmarks
        self.stride, self.margin = stride_and_margin(channels, dilations)
        self.patch = self.stride + 2 * self.margin
        layers: list[nn.Module] = []
        width = 1
        self.levels: list[Level] = []
        for number, widths in enumerate(channels):
            if number:
                layers.append(AveragePool2())
            for first in range(0, len(widths), 2):
                layers.append(Block(ndim, width, widths[first : first + 2]))
                width = widths[first : first + 2][-1]
            self.levels.append(Level(len(layers), *stride_and_margin(channels[: number + 1]), width))
        ends = [level.layers + 1 for level in self.levels[:-1]]  # after the halving
        layers += [Block(ndim, width, (width,), dilation) for dilation in dilations]
        self.body = nn.Sequential(*layers)
        crops, widest = [len(widths) for widths in channels], [max(widths) for widths in channels]
        crops[-1] += sum(dilations)
        widest[-1] = max([widest[-1], *head_channels])
        self.parts = [Part(*part) for part in zip([0, *ends], [*ends, len(layers)], crops, widest, strict=True)]
        layers = []
        for wide in head_channels:
            layers.append(Convolution(ndim, width, wide, 1))
            width = wide
        self.head = nn.Sequential(*layers)
        self.width = width
        self.coarse = conv(ndim)(width, landmarks * ndim, 1)
        self.fine = conv(ndim)(width, landmarks * ndim, 1)
        for layer in (self.coarse, self.fine):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(bias_of(layer))
        to_channels_last_(self)

    def features(self, padded: Tensor) -> Tensor:
        """(B, width, *grid): the features of the last layer of the head, one vector a patch.

        In prediction each level is computed in slabs, which unpadded convolutions leave exact, so that a large image
        takes little more memory than its halved first level; an exported graph has no slabs.
        """
        if self.training or torch.compiler.is_compiling():
            return self.head(self.body(matching_layout(padded)))
        x = channels_last(padded)
        for first, last, crop, widest in self.parts:
            layers = [*list(self.body)[first:last], *(self.head if last == len(self.body) else ())]
            x = run_in_slabs(layers, x, crop=crop, widest=widest)
        return x

    def level_features(self, padded: Tensor, level: int) -> Tensor:
        """(B, C, *size): the features of the last layer of a level; the finest is 0."""
        return self.body[: self.levels[level].layers](matching_layout(padded))

    def features_after(self, level_features: Tensor, level: int) -> Tensor:
        """`features` from those of a level."""
        return self.head(self.body[self.levels[level].layers :](level_features))

    def displacements(self, features: Tensor, part: slice | None = None) -> Tensor:
        """(B, n, d, *grid) elements, from `features`, for the landmarks of `part` (all N by default)."""
        if part is not None:
            part = slice(part.start * self.ndim, part.stop * self.ndim)
        coarse = select_outputs(self.coarse, features, part).float()
        fine = select_outputs(self.fine, features, part).float()
        output = COARSE * coarse + votes.decode(fine.clamp(-FINE, FINE))
        return output.view(len(output), -1, self.ndim, *output.shape[2:])

    def norms(self) -> list[BatchNorm]:
        """All normalisation layers."""
        return [layer.norm for layer in self.modules() if isinstance(layer, Convolution)]

    def forward(self, padded: Tensor) -> Tensor:
        return self.displacements(self.features(padded))


def stride_and_margin(channels: Sequence[Sequence[int]], dilations: Sequence[int] = ()) -> tuple[int, int]:
    """Stride of the output, and elements that a patch reaches beyond its stride on every side."""
    stride = 2 ** (len(channels) - 1)
    return stride, sum(2**level * len(widths) for level, widths in enumerate(channels)) + stride * sum(dilations)


def run_in_slabs(layers: Sequence[nn.Module], x: Tensor, *, crop: int, widest: int) -> Tensor:
    """The output of unpadded layers, which take `crop` elements from each side of x (B, C, *spatial), slab by slab.

    A slab has so many rows along the first axis that `widest` channels of them have about `AT_ONCE` numbers.
    """
    rows = x.shape[2] - 2 * crop
    if rows < 1:
        raise ValueError(f"an image of {tuple(x.shape)} is smaller than a patch")
    each = AT_ONCE[x.dim() - 2] // max(1, len(x) * widest * math.prod(x.shape[3:]))
    each = max(2, each // 2 * 2)  # even, as the last layer may halve
    slab = nn.Sequential(*layers)
    first = slab(x[:, :, : min(rows, each) + 2 * crop])
    if each >= rows:
        return first
    halved = rows // 2 if isinstance(layers[-1], AveragePool2) else rows
    output = channels_last(first.new_empty(*first.shape[:2], halved, *first.shape[3:]))
    done = first.shape[2]
    output[:, :, :done] = first
    del first
    for start in range(each, rows, each):
        part = slab(x[:, :, start : min(rows, start + each) + 2 * crop])
        output[:, :, done : done + part.shape[2]] = part
        done += part.shape[2]
    return output


def select_outputs(layer: Conv, x: Tensor, part: slice | None = None) -> Tensor:
    """The outputs of `part` of a 1x1 layer's channels."""
    which = slice(None) if part is None else part
    return convolve(x, layer.weight[which], bias_of(layer)[which])


class Block(nn.Module):
    """Up to two unpadded convolutions, and a shortcut around them (cropped to their size) if channels stay the same."""

    def __init__(self, ndim: int, channels_in: int, widths: Sequence[int], dilation: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels_in
        for wide in widths:
            layers.append(Convolution(ndim, width, wide, 3, dilation))
            width = wide
        self.body = nn.Sequential(*layers)
        self.crop = dilation * len(widths)
        self.shortcut = width == channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if not self.shortcut:
            return y
        crop = self.crop
        return y + x[(..., *(slice(crop, n - crop) for n in x.shape[2:]))]


class Convolution(Folding):
    """Unpadded convolution, batch normalisation, ReLU; in evaluation one convolution, the normalisation folded in."""

    def __init__(self, ndim: int, channels_in: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.dilation = dilation
        self.convolve = conv(ndim)(channels_in, channels, kernel, dilation=dilation, bias=False)
        self.norm = batch_norm(ndim)(channels)
        nn.init.kaiming_normal_(self.convolve.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.relu(self.norm(self.convolve(x)), inplace=True)
        return F.relu(convolve(x, self.folded_weight, self.folded_bias, dilation=self.dilation), inplace=True)

    def fold(self) -> tuple[Tensor, Tensor]:
        weight, bias = folded_layers(self.convolve, self.norm)
        return channels_last(weight), bias
