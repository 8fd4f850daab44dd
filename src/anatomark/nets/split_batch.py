"""A batch that several processes share, each with a part of its examples: totals and batch statistics of all of it.

So a step comes to the same, whatever the number of processes. `torch.nn.SyncBatchNorm` would do for layers on a GPU
alone: it refuses tensors of the CPU, and the grouped convolutions, which normalise a part of their channels.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

_split = False  # of the program and not of a thread: a GPU's backward pass runs in a thread of its own


@contextmanager
def split_batch(split: bool) -> Generator[None]:
    """In this context, with `split`, all processes of the default group take the same step, each on its examples."""
    global _split
    before, _split = _split, split
    try:
        yield
    finally:
        _split = before


def batch_total(values: Tensor) -> Tensor:
    """The sum of what all processes have, without a gradient; `values` where the batch is not split."""
    if not _split:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def batch_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen values of a batch; 0, with a gradient of 0, where none is chosen.

    Where the batch is split, this process's share of it: the shares, and their gradients, sum to those of the whole.
    """
    return torch.where(chosen, values, torch.zeros_like(values)).sum() / batch_total(chosen.sum()).clamp(min=1)


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    momentum: float,
    eps: float,
) -> Tensor:
    """`x` (B, C, ...) normalised as in training by the statistics of the batch, which the running ones move towards.

    `mean` and `variance` (C,) are the running ones.
    """
    if not _split:
        return F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=momentum, eps=eps)
    normalised, of_batch, spread, count = cast(
        "tuple[Tensor, Tensor, Tensor, Tensor]", _SharedBatchNorm.apply(x, weight, bias, eps)
    )
    with torch.no_grad():
        mean.lerp_(of_batch, momentum)
        variance.lerp_(spread * (count / (count - 1).clamp(min=1)), momentum)
    return normalised


class _Split(nn.Module):
    """Beside a `torch.nn` layer of batch normalisation: the same for a split batch."""

    def forward(self, input: Tensor) -> Tensor:
        norm = cast("nn.BatchNorm2d | nn.BatchNorm3d", self)
        if not (_split and norm.training):
            return super().forward(input)
        running = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
        cast("Tensor", norm.num_batches_tracked).add_(1)
        return batch_norm(input, *running, norm.weight, norm.bias, momentum=cast("float", norm.momentum), eps=norm.eps)


class BatchNorm2d(_Split, nn.BatchNorm2d):
    """Of images (B, C, rows, columns)."""


class BatchNorm3d(_Split, nn.BatchNorm3d):
    """Of volumes (B, C, slices, rows, columns)."""


class _Context(FunctionCtx):
    saved_tensors: tuple[Tensor, ...]
    eps: float


class _SharedBatchNorm(torch.autograd.Function):
    """Normalises by the statistics of all processes' examples; also gives these: mean, variance (C,) and count ()."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        own_variance, own_mean = torch.var_mean(x.to(weight.dtype), axes, correction=0)
        own_count = torch.full_like(own_mean, x.numel() // x.shape[1])
        own = torch.stack([own_count, own_mean, own_variance])
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        counts, means, variances = torch.stack(parts, dim=1)  # (processes, C) each
        count = counts.sum(0)
        mean = (counts * means).sum(0) / count
        variance = (counts * (variances + (means - mean).square())).sum(0) / count
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, variance, count

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean, variance, count = ctx.saved_tensors
        gradient, shape = gradients[0], (1, -1, *(1,) * (x.dim() - 2))
        axes = [axis for axis in range(x.dim()) if axis != 1]
        scale = torch.rsqrt(variance + ctx.eps)
        standard = (x.to(weight.dtype) - mean.view(shape)) * scale.view(shape)
        exact = gradient.to(weight.dtype)
        for_weight, for_bias = (exact * standard).sum(axes), exact.sum(axes)
        total = torch.stack([for_weight, for_bias])
        dist.all_reduce(total)
        of_weight, of_bias = (part.view(shape) for part in total / count)
        of_x = (exact - of_bias - standard * of_weight) * (weight * scale).view(shape)
        return of_x.to(x.dtype), for_weight, for_bias, None
