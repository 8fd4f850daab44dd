"""Layers for two or three dimensions."""

from __future__ import annotations

from torch import nn


def conv(ndim: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if ndim == 2 else nn.Conv3d


def batch_norm(ndim: int) -> type[nn.BatchNorm2d] | type[nn.BatchNorm3d]:
    return nn.BatchNorm2d if ndim == 2 else nn.BatchNorm3d


def avg_pool(ndim: int) -> type[nn.AvgPool2d] | type[nn.AvgPool3d]:
    return nn.AvgPool2d if ndim == 2 else nn.AvgPool3d
