"""The network of patches: a ladder of unpadded convolutions, run on one patch, on a crop or on a whole image alike.

The stage-1 network of T2DL (Zhang, Liu, Shen, IEEE TIP 26(10):4753-4764, 2017, doi 10.1109/TIP.2017.2721106) is a
convolutional network that sees a patch; stage 2 runs the same weights fully convolutionally. The layers are this
project's: the paper's table is not public.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from anatomark import votes
from anatomark.nets.layers import Halve, batch_norm, channels_last, conv, convolve, folded_layers, laid_out, lay_out

COARSE = 20.0  # elements that one unit of the coarse layer stands for
FINE = 2.0  # at most 99 elements by the encoded layer, whatever it says where it has learned little
AT_ONCE = {2: 48_000_000, 3: 12_000_000}  # numbers of the widest layer that are made at a time in prediction


class LadderNet(nn.Module):
    """Maps an image with a margin, (B, 1, *(grid * stride + 2 * margin)), to displacements (B, N, d, *grid).

    `channels` lists the unpadded 3^d convolutions of each level; between levels an average pooling halves the size, so
    stride = 2^(levels - 1). `context` lists the dilations of further convolutions on the last level, `hidden` the 1x1
    layers after them. Output k sees the `patch` elements from k * stride of the input on, and stands for the `stride`
    elements from k * stride of the image without its margin, which are the middle of those. Displacements are in
    elements, and the sum of two layers: a linear one, since all of them are linear in where the patch lies, and an
    encoded one (`votes.decode`), which makes short ones exact.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        channels: Sequence[Sequence[int]],
        context: Sequence[int] = (),
        hidden: Sequence[int],
    ) -> None:
        super().__init__()
        self.ndim, self.landmarks = ndim, landmarks
        self.stride, self.margin = stride_and_margin(channels, context)
        self.patch = self.stride + 2 * self.margin
        layers: list[nn.Module] = []
        width = 1
        self.levels: list[tuple[int, int, int, int]] = []  # of each: layers up to its end, stride, cut, channels
        for level, widths in enumerate(channels):
            if level:
                layers.append(Halve())
            for first in range(0, len(widths), 2):
                layers.append(Block(ndim, width, widths[first : first + 2]))
                width = widths[first : first + 2][-1]
            self.levels.append((len(layers), *stride_and_margin(channels[: level + 1]), width))
        ends = [end + 1 for end, *_ in self.levels[:-1]]  # after the halving
        layers += [Block(ndim, width, (width,), dilation) for dilation in context]
        self.ladder = nn.Sequential(*layers)
        cuts, widest = [len(widths) for widths in channels], [max(widths) for widths in channels]
        cuts[-1] += sum(context)
        widest[-1] = max([widest[-1], *hidden])
        self.parts = list(zip([0, *ends], [*ends, len(layers)], cuts, widest, strict=True))
        layers = []
        for wide in hidden:
            layers.append(Convolution(ndim, width, wide, 1))
            width = wide
        self.hidden = nn.Sequential(*layers)
        self.width = width
        self.coarse = conv(ndim)(width, landmarks * ndim, 1)
        self.fine = conv(ndim)(width, landmarks * ndim, 1)
        for layer in (self.coarse, self.fine):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        lay_out(self)

    def features(self, padded: Tensor) -> Tensor:
        """(B, width, *grid): what the last hidden layer says of every patch.

        In prediction each level is made in slabs, which unpadded convolutions leave exact, so that a large image takes
        little more memory than its halved first level.
        """
        if self.training:
            return self.hidden(self.ladder(laid_out(padded)))
        x = channels_last(padded)
        for first, last, cut, widest in self.parts:
            layers = [*list(self.ladder)[first:last], *(self.hidden if last == len(self.ladder) else ())]
            x = in_slabs(layers, x, cut=cut, widest=widest)
        return x

    def level_features(self, padded: Tensor, level: int) -> Tensor:
        """(B, C, *size): what the last layer of a level says; the finest is 0."""
        return self.ladder[: self.levels[level][0]](laid_out(padded))

    def features_after(self, finer: Tensor, level: int) -> Tensor:
        """`features` from those of a level."""
        return self.hidden(self.ladder[self.levels[level][0] :](finer))

    def stride_and_cut(self, level: int) -> tuple[int, int]:
        """Elements along each axis that a feature of a level stands for, and from the edge to those of the first."""
        return self.levels[level][1:3]

    def width_of(self, level: int) -> int:
        """Channels of a level."""
        return self.levels[level][3]

    def displacements(self, features: Tensor, part: slice | None = None) -> Tensor:
        """(B, n, d, *grid) elements, from `features`, for the landmarks of `part` (all N by default)."""
        if part is not None:
            part = slice(part.start * self.ndim, part.stop * self.ndim)
        coarse = some_outputs(self.coarse, features, part).float()
        fine = some_outputs(self.fine, features, part).float()
        found = COARSE * coarse + votes.decode(fine.clamp(-FINE, FINE))
        return found.view(len(found), -1, self.ndim, *found.shape[2:])

    def norms(self) -> list[nn.BatchNorm2d | nn.BatchNorm3d]:
        """All normalisation layers."""
        return [layer.norm for layer in self.modules() if isinstance(layer, Convolution)]

    def forward(self, padded: Tensor) -> Tensor:
        return self.displacements(self.features(padded))


def stride_and_margin(channels: Sequence[Sequence[int]], context: Sequence[int] = ()) -> tuple[int, int]:
    """Stride of the output, and elements that a patch reaches beyond its stride on every side."""
    stride = 2 ** (len(channels) - 1)
    return stride, sum(2**level * len(widths) for level, widths in enumerate(channels)) + stride * sum(context)


def in_slabs(layers: Sequence[nn.Module], x: Tensor, *, cut: int, widest: int) -> Tensor:
    """What unpadded layers, which cut `cut` elements from each side of x (B, C, *spatial), make of it, part by part.

    A part has so many rows along the first axis that `widest` channels of them have about `AT_ONCE` numbers.
    """
    rows = x.shape[2] - 2 * cut
    each = AT_ONCE[x.dim() - 2] // max(1, len(x) * widest * math.prod(x.shape[3:]))
    each = max(2, each // 2 * 2)  # even, as the last layer may halve
    made: Tensor | None = None
    done = 0
    for first in range(0, rows, each):
        part = x[:, :, first : min(rows, first + each) + 2 * cut]
        for layer in layers:
            part = layer(part)
        if each >= rows:
            return part
        if made is None:
            halved = rows // 2 if isinstance(layers[-1], Halve) else rows
            made = channels_last(part.new_empty(*part.shape[:2], halved, *part.shape[3:]))
        made[:, :, done : done + part.shape[2]] = part
        done += part.shape[2]
    assert made is not None, f"an image of {tuple(x.shape)} is smaller than a patch"
    return made


def some_outputs(layer: nn.Conv2d | nn.Conv3d, x: Tensor, part: slice | None = None) -> Tensor:
    """The outputs of `part` of a 1x1 layer's channels."""
    assert layer.bias is not None
    which = slice(None) if part is None else part
    return convolve(x, layer.weight[which], layer.bias[which])


class Block(nn.Module):
    """Up to two unpadded convolutions, and a shortcut around them (cut to their size) where channels stay the same."""

    def __init__(self, ndim: int, channels_in: int, widths: Sequence[int], dilation: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels_in
        for wide in widths:
            layers.append(Convolution(ndim, width, wide, 3, dilation))
            width = wide
        self.body = nn.Sequential(*layers)
        self.cut = dilation * len(widths)
        self.shortcut = width == channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if not self.shortcut:
            return y
        cut = self.cut
        return y + x[(..., *(slice(cut, n - cut) for n in x.shape[2:]))]


class Convolution(nn.Module):
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
        weight, bias = folded_layers(self.convolve, self.norm)
        return F.relu(convolve(x, channels_last(weight), bias, dilation=self.dilation), inplace=True)
