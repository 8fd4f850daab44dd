"""The network: a U-Net of MONAI's blocks to features, and a 1x1 convolution from features to heatmaps."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anatomark.errors import MissingExtraError
from anatomark.nets.cpu import with_right_gradients
from anatomark.nets.layers import conv

TileLoss = Callable[[Tensor, slice], Tensor]
SHARPNESS = 4.0  # times the output of the last layer: heatmaps of many elements need large logits, and soon


class HeatmapNet(nn.Module):
    """Heatmaps of N landmarks, as logits.

    `channels` and `strides` are those of each level; heatmaps have the stride of the first. Blocks are those of nnU-Net
    (Isensee et al., Nature Methods 18:203-211, 2021, doi 10.1038/s41592-020-01008-z): two convolutions, each with
    instance norm and leaky ReLU. An untrained network gives about the logit `prior` everywhere. Never more than
    `per_tile` heatmaps of a batch exist at a time, in training too.
    """

    def __init__(
        self,
        ndim: int,
        landmarks: int,
        *,
        channels: Sequence[int],
        strides: Sequence[Sequence[int]],
        prior: float,
        per_tile: int,
    ) -> None:
        super().__init__()
        unet = dyn_unet()(
            spatial_dims=ndim,
            in_channels=1,
            out_channels=1,
            kernel_size=[[3] * ndim] * len(strides),
            strides=[list(s) for s in strides],
            upsample_kernel_size=[list(s) for s in strides[1:]],
            filters=list(channels),
        )
        with_right_gradients(unet)
        # Its blocks and not itself, for it registers each of them twice, and a file of weights would contain both.
        self.down = nn.ModuleList([unet.input_block, *unet.downsamples, unet.bottleneck])
        self.up = unet.upsamples
        self.head = conv(ndim)(channels[0], landmarks, 1)
        self.prior = prior
        self.landmarks, self.per_tile = landmarks, per_tile

    def forward(self, values: Tensor, tile_loss: TileLoss) -> Tensor:
        """The loss (B, N) of every landmark for images (B, 1, *spatial).

        `tile_loss(logits, tile)` gives it (B, n) from the heatmaps (B, n, *heatmap) of the landmarks in a tile. Only it
        leaves this function, so that heatmaps are gone, tile by tile, before the next ones are made; they are made
        again for the gradient. (A function, because points given as a tensor would be rounded to bfloat16 on the way.)
        """

        def of_tile(features: Tensor, tile: slice) -> Tensor:
            return tile_loss(self.logits(features, tile), tile)

        features = self.features(values)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 is too coarse between elements
            features = features.float()
            if self.per_tile >= self.landmarks:
                return of_tile(features, slice(0, self.landmarks))
            parts: list[Tensor] = [
                checkpoint(of_tile, features, tile, use_reentrant=False, preserve_rng_state=False)
                for tile in self.tiles()
            ]
            return torch.cat(parts, dim=1)

    def features(self, values: Tensor) -> Tensor:
        """(B, F, *heatmap) of images (B, 1, *spatial), whose sizes are multiples of the whole stride."""
        return self.features_and_deepest(values)[0]

    def features_and_deepest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the features (B, C, *grid) of the deepest level."""
        skips: list[Tensor] = []
        for block in self.down:
            values = block(values)
            skips.append(values)
        values = deepest = skips.pop()
        for block in self.up:
            values = block(values, skips.pop())
        return values, deepest

    def logits(self, features: Tensor, tile: slice | Tensor) -> Tensor:
        """Logits (B, n, *heatmap) of the landmarks in `tile`, or of those whose numbers (n,) it has."""
        convolve = nn.functional.conv2d if features.dim() == 4 else nn.functional.conv3d
        bias = SHARPNESS * cast("Tensor", self.head.bias)[tile] + self.prior
        return convolve(features, SHARPNESS * self.head.weight[tile], bias)

    def tiles(self) -> Iterator[slice]:
        """All landmarks, some at a time."""
        for first in range(0, self.landmarks, self.per_tile):
            yield slice(first, min(first + self.per_tile, self.landmarks))


def require_monai() -> None:
    """MissingExtraError where MONAI is not installed; it is not loaded yet, which takes seconds."""
    if importlib.util.find_spec("monai") is None:
        raise _missing("not installed")


def dyn_unet() -> Any:
    """MONAI's DynUNet, the class."""
    require_monai()
    try:
        from monai.networks.nets.dynunet import DynUNet
    except ImportError as error:
        raise _missing(f"there but cannot be loaded ({error})") from None
    return DynUNet


def _missing(what: str) -> MissingExtraError:
    return MissingExtraError(
        f"the method heatmap needs MONAI, which is {what}; install it: pip install 'anatomark[heatmap]'"
    )
