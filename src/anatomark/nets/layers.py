"""Layers for two or three dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv(ndim: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if ndim == 2 else nn.Conv3d


def batch_norm(ndim: int) -> type[nn.BatchNorm2d] | type[nn.BatchNorm3d]:
    return nn.BatchNorm2d if ndim == 2 else nn.BatchNorm3d


def avg_pool(ndim: int) -> type[nn.AvgPool2d] | type[nn.AvgPool3d]:
    return nn.AvgPool2d if ndim == 2 else nn.AvgPool3d


def lay_out(network: nn.Module) -> None:
    """Store the kernels of 2D convolutions channels last, which go with values `laid_out` so.

    On a CPU in bfloat16, training takes a tenth to a fifth less time; 3D kernels stay, for there it takes more.
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = laid_out(parameter.data)


def laid_out(values: Tensor) -> Tensor:
    """2D values (B, C, *spatial) stored channels last, 3D ones as they are."""
    return values.to(memory_format=torch.channels_last) if values.dim() == 4 else values
