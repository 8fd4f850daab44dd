"""Layers for two or three dimensions, and normalisations that convolutions take into themselves for prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anatomark.nets.cpu import Conv3d, avg_pool2, convolve
from anatomark.nets.split_batch import BatchNorm2d, BatchNorm3d

BatchNorm = BatchNorm2d | BatchNorm3d
Conv = nn.Conv2d | nn.Conv3d


def conv(ndim: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if ndim == 2 else Conv3d


def batch_norm(ndim: int, *, by_image: bool = False) -> type[BatchNorm2d] | type[BatchNorm3d]:
    if by_image:
        return ImageNorm2d if ndim == 2 else ImageNorm3d
    return BatchNorm2d if ndim == 2 else BatchNorm3d


class _ByImage(nn.Module):
    """Beside a batch normalisation: in evaluation mode each image is normalised by its own statistics.

    With batches of one or two images, running averages are of other numbers than those that the layers after it have
    learned from. What they average is kept, but not used.
    """

    def forward(self, input: Tensor) -> Tensor:
        norm = cast("nn.BatchNorm2d | nn.BatchNorm3d", self)
        if norm.training:
            return super().forward(input)
        return image_norm(input, norm.weight, norm.bias, norm.eps)


class ImageNorm2d(_ByImage, BatchNorm2d):
    """Of images (B, C, rows, columns)."""


class ImageNorm3d(_ByImage, BatchNorm3d):
    """Of volumes (B, C, slices, rows, columns)."""


def image_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """`x` (B, C, ...), each image of which is normalised for itself."""
    if torch.compiler.is_compiling() or x[0, 0].numel() == 1:  # exporters know these; of one element PyTorch's is none
        axes = tuple(range(2, x.dim()))
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        shape = (-1, *(1,) * len(axes))
        return (x - mean) * torch.rsqrt(variance + eps) * weight.view(shape) + bias.view(shape)
    return torch.cat([F.batch_norm(one, None, None, weight, bias, training=True, eps=eps) for one in x.split(1)])


def _goes_into_convolution(norm: nn.Module | None) -> TypeGuard[BatchNorm]:
    return isinstance(norm, BatchNorm) and not isinstance(norm, _ByImage)


def bias_of(layer: Conv | nn.Linear) -> Tensor:
    """The biases of a layer that was made with them; torch's types leave that open."""
    return cast("Tensor", layer.bias)


class AveragePool2(nn.Module):
    """Average pooling by two, without what is left over of an odd size."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2(x)


def folded(
    weight: Tensor, bias: Tensor | None, *, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Kernels and biases of a convolution that does its own and then a normalisation's work, as in prediction."""
    factor = scale * torch.rsqrt(variance + eps)
    moved = shift - mean * factor
    return weight * factor.view(-1, *(1,) * (weight.dim() - 1)), moved if bias is None else moved + bias * factor


def folded_layers(layer: Conv, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """The same of two layers."""
    mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    learned = {"mean": mean, "variance": variance, "scale": norm.weight, "shift": norm.bias}
    return folded(layer.weight, layer.bias, **learned, eps=norm.eps)


class Folding(nn.Module, ABC):
    """A layer that folds its normalisation once, when it is put into evaluation mode; its weights then have to stay.

    What is folded moves with the layer to a device, and is in no file of weights.
    """

    folded_weight: Tensor
    folded_bias: Tensor

    @abstractmethod
    def fold(self) -> tuple[Tensor, Tensor]:
        """Kernels and biases for prediction."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not mode:
            with torch.no_grad():
                weight, bias = self.fold()
            self.register_buffer("folded_weight", weight, persistent=False)
            self.register_buffer("folded_bias", bias, persistent=False)
        return self


class Chain(nn.Sequential):
    """Layers one after another; in prediction a convolution takes the normalisation after it into itself.

    As with `Folding`, that is done when the chain is put into evaluation mode.
    """

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for number, (layer, after) in enumerate(zip(self, [*list(self)[1:], None], strict=True)):
            if not mode and isinstance(layer, Conv) and _goes_into_convolution(after):
                with torch.no_grad():
                    weight, bias = folded_layers(layer, after)
                self.register_buffer(f"folded_weight_{number}", weight, persistent=False)
                self.register_buffer(f"folded_bias_{number}", bias, persistent=False)
        return self

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.training:
            return cast("Tensor", super().forward(x))
        inside = None  # the normalisation that the convolution before has taken in
        for number, (layer, after) in enumerate(zip(self, [*list(self)[1:], None], strict=True)):
            if layer is inside:
                continue
            if not isinstance(layer, Conv):
                x = layer(x)
                continue
            weight, bias = layer.weight, layer.bias
            if _goes_into_convolution(after):
                inside = after
                weight = cast("Tensor", getattr(self, f"folded_weight_{number}"))
                bias = cast("Tensor", getattr(self, f"folded_bias_{number}"))
            padding = cast("tuple[int, ...]", layer.padding)
            stride, dilation, groups = layer.stride, layer.dilation, layer.groups
            x = convolve(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return x
