"""Layers for two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BatchNorm = nn.BatchNorm2d | nn.BatchNorm3d
Conv = nn.Conv2d | nn.Conv3d


def conv(ndim: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    return nn.Conv2d if ndim == 2 else nn.Conv3d


def batch_norm(ndim: int) -> type[nn.BatchNorm2d] | type[nn.BatchNorm3d]:
    return nn.BatchNorm2d if ndim == 2 else nn.BatchNorm3d


def lay_out(network: nn.Module) -> None:
    """Store the kernels of 2D convolutions channels last, which go with values `laid_out` so.

    On a CPU in bfloat16, training takes a tenth to a fifth less time; 3D kernels stay, for there it takes more.
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = laid_out(parameter.data)


def laid_out(values: Tensor) -> Tensor:
    """2D values (B, C, *spatial) stored channels last, 3D ones as they are."""
    return channels_last(values) if values.dim() == 4 else values


def channels_last(values: Tensor) -> Tensor:
    """Values (B, C, *spatial), or kernels, stored channels last."""
    return values.to(memory_format=torch.channels_last if values.dim() == 4 else torch.channels_last_3d)


class Halve(nn.Module):
    """Average pooling by two, without what is left over of an odd size.

    Sums of neighbours along an axis at a time: on a CPU in 3D several times as fast as PyTorch's pooling, which knows
    no bfloat16 there.
    """

    def forward(self, x: Tensor) -> Tensor:
        return halve(x)


def halve(x: Tensor) -> Tensor:
    """(B, C, *spatial // 2), the means of 2^d neighbours."""
    if x.dim() == 4:
        return F.avg_pool2d(x, 2)
    return _Halved.apply(x) if x.requires_grad and torch.is_grad_enabled() else _halved(x)


def _halved(x: Tensor) -> Tensor:
    d = x.dim() - 2
    for axis in range(2, 2 + d):
        even = x.shape[axis] // 2 * 2
        first, second = (x[(slice(None),) * axis + (slice(k, even, 2),)] for k in range(2))
        x = first + second
    return x * 0.5**d


class _Halved(torch.autograd.Function):
    """The same, with a gradient that spreads evenly; that of the slices would be written out one by one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape[2:]
        return _halved(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        spread = gradients[0] * 0.5 ** len(ctx.size)
        for axis in range(2, spread.dim()):
            spread = spread.repeat_interleave(2, dim=axis)
        return at_least(spread, ctx.size)


def at_least(values: Tensor, size: Sequence[int]) -> Tensor:
    """Values (B, C, *spatial) filled up with zeros where they have less than `size` elements."""
    short = [max(0, w - n) for w, n in zip(size, values.shape[2:], strict=True)]
    return F.pad(values, [n for s in reversed(short) for n in (0, s)]) if any(short) else values


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution; in inference mode on a CPU oneDNN's for any volume: PyTorch has a slower one for small ones."""
    d = x.dim() - 2
    if d == 3 and x.device.type == "cpu" and torch.is_inference_mode_enabled() and torch.backends.mkldnn.is_available():
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if dtype in (torch.float32, torch.bfloat16):
            given = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
            along = ([n] * d if isinstance(n, int) else list(n) for n in (padding, stride, dilation))
            return torch.mkldnn_convolution(*given, *along, groups)  # pyright: ignore[reportCallIssue]
    apply = F.conv2d if d == 2 else F.conv3d
    return apply(x, weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportArgumentType]


def folded(
    weight: Tensor, bias: Tensor | None, *, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Kernels and biases of a convolution that does its own and then a normalisation's work, as in prediction."""
    factor = scale * torch.rsqrt(variance + eps)
    moved = shift - mean * factor
    return weight * factor.view(-1, *(1,) * (weight.dim() - 1)), moved if bias is None else moved + bias * factor


def folded_layers(layer: Conv, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """The same of two layers."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    kept = {"mean": mean, "variance": variance, "scale": norm.weight, "shift": norm.bias}
    return folded(layer.weight, layer.bias, **kept, eps=norm.eps)


class Chain(nn.Sequential):
    """Layers one after another; in prediction a convolution takes the normalisation after it into itself."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.training:
            return super().forward(x)
        inside = None  # the normalisation that the convolution before has taken in
        for layer, after in zip(self, [*list(self)[1:], None], strict=True):
            if layer is inside:
                continue
            if not isinstance(layer, Conv):
                x = layer(x)
                continue
            inside = after if isinstance(after, BatchNorm) else None
            weight, bias = (layer.weight, layer.bias) if inside is None else folded_layers(layer, inside)
            where = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
            assert not isinstance(layer.padding, str)
            x = convolve(x, weight, bias, padding=layer.padding, **where)
        return x
