"""A U-Net whose patches vote twice: those of a coarse level from all over the image, those of the finest near by.

The votes are those of global-to-local (Noothout et al., IEEE TMI 39(12):4011-4022, 2020, arXiv 2007.05295): for each
landmark, whether it lies in the patch, and the displacement to it. One network (Ronneberger et al., MICCAI 2015,
doi:10.1007/978-3-319-24574-4_28) casts them all, so that one landmark more costs a few weights of the last layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from anatomark.nets.cpu import convolve, matching_layout, to_channels_last_
from anatomark.nets.layers import Chain, Conv, batch_norm, bias_of, conv

SHARPNESS = 8.0  # times the weights of presence: logits have to become large, and soon
SLOPE = 0.01  # of the leaky ReLU
LAST_STD = 0.01
PRIOR_PATCHES = 12.0  # the width that the prior around the global answer begins with
PRIOR_RATE = 4.0  # how much faster than other parameters its logarithm is learned
PRIOR_TAIL = 2.0  # exponent of its tails

FindWindows = Callable[["Votes"], "Windows"]


class Votes(NamedTuple):
    """Logits (B, n, *grid) of presence in each patch, and encoded displacements (B, n, d, *grid)."""

    logits: Tensor
    encoded: Tensor


class Windows(NamedTuple):
    """Where to look closely for landmarks `which` (n,).

    `corners` (B, n, d) are the first patches of the windows, and `expected` (B, n, d) the global answers, both in
    patches of the finest level.
    """

    which: Tensor
    corners: Tensor
    expected: Tensor


class VoteUNet(nn.Module):
    """Votes of N landmarks for images (B, 1, *spatial), whose sizes are multiples of the product of all strides.

    `channels` and `strides` (d,) are those of each level, the finest first; patches of the finest level have its
    stride, those of level `coarse` the product of the strides up to it. `heads` are the channels of the hidden layers
    before the votes of the coarse level and of the finest, `priors` the probabilities of presence that their patches
    start with. `window` (d,) is the size of a close look, in patches of the finest level. With `image_statistics`, each
    image is normalised by its own in evaluation mode.

    The closer a patch lies to the global answer, the likelier it is to hold the landmark, by a Student's t density
    whose width is learned for each landmark: points along an edge look alike, and its tails are heavy because the
    global answer may be quite wrong.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        channels: Sequence[int],
        strides: Sequence[Sequence[int]],
        coarse: int,
        heads: tuple[int, int],
        window: Sequence[int],
        priors: tuple[float, float],
        image_statistics: bool,
    ) -> None:
        super().__init__()
        self.ndim, self.landmarks, self.coarse, self.window = ndim, landmarks, coarse, tuple(window)
        self.down = nn.ModuleList(
            _block(ndim, before, wide, stride, image_statistics)
            for before, wide, stride in zip((1, *channels[:-1]), channels, strides, strict=True)
        )
        self.up = nn.ModuleList(
            _Up(ndim, deep, wide, stride, image_statistics)
            for wide, deep, stride in zip(channels[:-1], channels[1:], strides[1:], strict=True)
        )
        self.presence = _Head(ndim, channels[coarse], heads[0], landmarks, sharpness=SHARPNESS)
        self.displacement = _Head(ndim, channels[coarse], heads[0], landmarks * ndim)
        near = heads[1]
        self.near = nn.Linear(channels[0], 2 * near)
        self.near_presence = nn.Parameter(LAST_STD * torch.randn(landmarks, near))
        self.near_displacement = nn.Parameter(LAST_STD * torch.randn(landmarks, ndim, near))
        self.near_presence_bias = nn.Parameter(torch.full((landmarks,), _logit(priors[1])))
        self.near_displacement_bias = nn.Parameter(torch.zeros(landmarks, ndim))
        self.near_precision = nn.Parameter(torch.zeros(landmarks))
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for head, start in ((self.presence, _logit(priors[0])), (self.displacement, 0.0)):
            nn.init.normal_(head.last.weight, std=LAST_STD)
            nn.init.constant_(bias_of(head.last), start)
        to_channels_last_(self)

    def forward(self, x: Tensor, find: FindWindows) -> tuple[Votes, Votes]:
        """The votes of the coarse level, and those of the finest in the windows that `find` takes from them."""
        coarse, features, _ = self.look_over(x)
        return coarse, self.look_closely(features, find(coarse))

    def look_over(self, x: Tensor) -> tuple[Votes, Tensor, Tensor]:
        """The votes of the coarse level, and the features (B, C, *grid) of the finest and of the deepest."""
        skips: list[Tensor] = []
        x = matching_layout(x)
        for block in self.down:
            x = block(x)
            skips.append(x)
        at_coarse = x
        for level in reversed(range(len(self.up))):
            x = self.up[level](x, skips[level])
            if level == self.coarse:
                at_coarse = x
        displacement = self.displacement(at_coarse)
        shape = (len(x), self.landmarks, self.ndim, *at_coarse.shape[2:])
        return Votes(self.presence(at_coarse), displacement.reshape(shape)), x, skips[-1]

    def look_closely(self, features: Tensor, windows: Windows) -> Votes:
        """The votes of the finest level, from its `features`, in windows."""
        which, corners, expected = windows
        size = [min(w, n) for w, n in zip(self.window, features.shape[2:], strict=True)]
        seen = self.near(windows_of(features, corners, size)).relu()
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 is too coarse for displacements
            presence, displacement = seen.float().chunk(2, dim=-1)
            logits = torch.einsum("bnwh,nh->bnw", presence, SHARPNESS * self.near_presence[which])
            encoded = torch.einsum("bnwh,ndh->bndw", displacement, self.near_displacement[which])
            logits = logits + self.near_presence_bias[which][:, None] - self._far(corners - expected, which, size)
            encoded = encoded + self.near_displacement_bias[which][..., None]
        shape = corners.shape[:2]
        return Votes(logits.reshape(*shape, *size), encoded.reshape(*shape, self.ndim, *size))

    def _far(self, first: Tensor, which: Tensor, size: Sequence[int]) -> Tensor:
        """(B, n, W) what the distance from the global answer takes from the logits of a window's patches.

        The `first` of them lies (B, n, d) patches from that answer.
        """
        along = [torch.arange(n, dtype=first.dtype, device=first.device) for n in size]
        off = (first[..., None] + torch.stack(torch.meshgrid(*along, indexing="ij")).flatten(1)) / PRIOR_PATCHES
        precision = (PRIOR_RATE * self.near_precision[which]).exp()
        return PRIOR_TAIL * torch.log1p(precision[:, None] * off.square().sum(2))


def windows_of(features: Tensor, corners: Tensor, size: Sequence[int]) -> Tensor:
    """(B, n, W, C) the features (B, C, *grid) of the W elements of windows (d,) inside it that begin at (B, n, d)."""
    flat = torch.zeros((*corners.shape[:2], 1), dtype=torch.long, device=corners.device)
    for axis, (wide, n) in enumerate(zip(size, features.shape[2:], strict=True)):
        along = corners[..., axis, None] + torch.arange(wide, device=corners.device)
        flat = (flat[..., :, None] * n + along[..., None, :]).flatten(2)
    elements = features.flatten(2).transpose(1, 2)
    return torch.stack([one[index] for one, index in zip(elements, flat, strict=True)])


class _Up(nn.Module):
    """Deep features brought to the grid of the skipped ones, joined with them and convolved."""

    def __init__(self, ndim: int, deep: int, wide: int, stride: Sequence[int], image_statistics: bool) -> None:
        super().__init__()
        transposed = nn.ConvTranspose2d if ndim == 2 else nn.ConvTranspose3d
        kernel = cast("Any", tuple(stride))  # of as many entries as axes
        self.enlarge = transposed(deep, wide, kernel, kernel, bias=False)
        self.block = _block(ndim, 2 * wide, wide, (1,) * ndim, image_statistics)

    def forward(self, deep: Tensor, skipped: Tensor) -> Tensor:
        return self.block(torch.cat([self.enlarge(deep), skipped], dim=1))


class _Head(nn.Module):
    """A hidden layer and the last one, whose weights count `sharpness` times."""

    def __init__(self, ndim: int, before: int, hidden: int, outputs: int, *, sharpness: float = 1.0) -> None:
        super().__init__()
        self.hidden = Chain(conv(ndim)(before, hidden, 1), nn.ReLU(inplace=True))
        self.last: Conv = conv(ndim)(hidden, outputs, 1)
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.hidden(x), self.sharpness * self.last.weight, self.last.bias)


def _block(ndim: int, before: int, wide: int, stride: Sequence[int], image_statistics: bool) -> Chain:
    layers: list[nn.Module] = []
    for channels, step in ((before, tuple(stride)), (wide, (1,) * ndim)):
        layers += [
            conv(ndim)(channels, wide, 3, stride=cast("Any", step), padding=1, bias=False),
            batch_norm(ndim, by_image=image_statistics)(wide),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
    return Chain(*layers)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
