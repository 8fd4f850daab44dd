"""What is here for CPUs alone: the same results sooner, by another way or order in memory, and right gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


def to_channels_last_(network: nn.Module) -> None:
    """Store the kernels of 2D convolutions channels last, which go with values in `matching_layout`.

    On a CPU in bfloat16, training takes a tenth to a fifth less time; 3D kernels stay, for there it takes more.
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = channels_last(parameter.data)


def matching_layout(values: Tensor) -> Tensor:
    """2D values (B, C, *spatial) stored channels last, 3D ones as they are."""
    return channels_last(values) if values.dim() == 4 else values


def channels_last(values: Tensor) -> Tensor:
    """Values (B, C, *spatial), or kernels, stored channels last."""
    return values.to(memory_format=torch.channels_last if values.dim() == 4 else torch.channels_last_3d)


def avg_pool2(x: Tensor) -> Tensor:
    """(B, C, *spatial // 2), the means of 2^d neighbours, without what is left over of an odd size.

    In 3D sums of neighbours along one axis at a time: several times as fast on a CPU as PyTorch's pooling, which has no
    bfloat16 there.
    """
    if x.dim() == 4:
        return F.avg_pool2d(x, 2)
    if x.requires_grad and torch.is_grad_enabled():
        return cast("Tensor", _AveragePool2.apply(x))
    return _pooled(x)


def _pooled(x: Tensor) -> Tensor:
    d = x.dim() - 2
    for axis in range(2, 2 + d):
        even = x.shape[axis] // 2 * 2
        first, second = (x[(slice(None),) * axis + (slice(k, even, 2),)] for k in range(2))
        x = first + second
    return x * 0.5**d


class _Context(FunctionCtx):
    size: torch.Size


class _AveragePool2(torch.autograd.Function):
    """The same, with a gradient that spreads evenly; that of the slices would be written out one by one."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.size = x.shape[2:]
        return _pooled(x)

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        spread = gradients[0] * 0.5 ** len(ctx.size)
        for axis in range(2, spread.dim()):
            spread = spread.repeat_interleave(2, dim=axis)
        return pad_to(spread, ctx.size)


def pad_to(values: Tensor, size: Sequence[int]) -> Tensor:
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
    """A convolution; in inference mode on a CPU oneDNN's for any volume: PyTorch has a slower one for small ones.

    In bfloat16 only where the processor has it.
    """
    d = x.dim() - 2
    if d == 3 and x.device.type == "cpu" and torch.is_inference_mode_enabled() and torch.backends.mkldnn.is_available():
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            given = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
            along = ([n] * d if isinstance(n, int) else list(n) for n in (padding, stride, dilation))
            return cast("Tensor", torch.mkldnn_convolution(*given, *along, groups))  # pyright: ignore[reportCallIssue]
    if _is_short(x, weight, dilation if isinstance(dilation, int) else dilation[0]):
        with torch.autocast("cpu", enabled=False):
            return F.conv3d(x.float(), weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportArgumentType]
    apply = F.conv2d if d == 2 else F.conv3d
    return apply(x, weight, bias, stride, padding, dilation, groups)  # pyright: ignore[reportArgumentType]


class Conv3d(nn.Conv3d):
    """PyTorch's, in float32 where the gradient of its kernels would be wrong in bfloat16 (`_is_short`)."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if _is_short(input, weight, self.dilation[0]):
            with torch.autocast("cpu", enabled=False):
                return super()._conv_forward(input.float(), weight, bias)
        return super()._conv_forward(input, weight, bias)


def with_right_gradients(network: nn.Module) -> nn.Module:
    """`network`, whose 3D convolutions, made by another library, are `Conv3d` from now on."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
    return network


def _is_short(x: Tensor, weight: Tensor, dilation: int) -> bool:
    """Whether the kernel is longer than the volume along the first spatial axis, in training in bfloat16 on a CPU.

    There the gradient of the kernels comes out as numbers of any size on processors that compute in bfloat16 (PyTorch
    2.13, AVX-512 BF16; 3 x 3 x 3 kernels and 2 elements). The deepest level of a U-Net is that small where there are
    few slices.
    """
    training = x.dim() == 5 and x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    return training and x.shape[2] < dilation * (weight.shape[2] - 1) + 1
