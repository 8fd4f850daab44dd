"""The losses of heatmaps, and the density of a landmark that they stand for, which sums to about 1 around it.

Logits become probabilities in one of two ways. "binary": each element by itself has the probability sigmoid(logit);
its target is a Gaussian of height 1 around the landmark, 0 everywhere where the landmark is absent or outside.
"softmax": all elements, and one more place "outside" with a logit of 0, share a probability of 1; the target is a
Gaussian of sum 1, or all of it outside. The target of both is a product of one Gaussian along each axis, so that
targets are vectors, made from the points as they are needed, and no array of targets ever exists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from anatomark.core.landmarks import State
from anatomark.methods.heatmap.config import HeatmapLoss


def cross_entropy(logits: Tensor, points: Tensor, inside: Tensor, sigma: Tensor, *, loss: HeatmapLoss) -> Tensor:
    """(B, N) of heatmaps (B, N, *grid) with the targets around `points` (B, N, d), in elements of the grid.

    `inside` (B, N) is true of landmarks in the grid; points of others may be NaN. `sigma` (d,) in elements. The target
    has an entropy of its own, so that 0 is not reached. "binary" is the sum over elements, relative to the Gaussian's.
    """
    expected = logits
    points = torch.where(inside.unsqueeze(-1), points, torch.zeros_like(points))
    for axis in reversed(range(points.shape[-1])):  # the last remaining axis is contracted first
        weights = gaussian(points[..., axis], sigma[axis], logits.shape[2 + axis], loss=loss).unsqueeze(-1)
        expected = (expected.reshape(*expected.shape[:2], -1, weights.shape[2]) @ weights).view(expected.shape[:-1])
    expected = torch.where(inside, expected, torch.zeros_like(expected))
    if loss == "binary":
        return (F.softplus(logits).flatten(2).sum(-1) - expected) / gaussian_sum(sigma)
    return _log_total(logits.flatten(2)) - expected


def density(logits: Tensor, sigma: Tensor, *, loss: HeatmapLoss) -> Tensor:
    """(B, N, *grid), at least 0, of logits alike: it sums to 1 where a heatmap equals its target."""
    if loss == "binary":
        return logits.sigmoid() / gaussian_sum(sigma)
    total = _log_total(logits.flatten(2))
    return (logits - total.view(*total.shape, *(1,) * (logits.dim() - 2))).exp()


def prior_logit(sigma: Sequence[float], elements: int) -> float:
    """The logit that untrained heatmaps of so many elements have: of a landmark that may be anywhere in them."""
    probability = min(0.5, math.prod(math.sqrt(2 * math.pi) * s for s in sigma) / elements)
    return math.log(probability / (1 - probability))


def gaussian(center: Tensor, sigma: Tensor, size: int, *, loss: HeatmapLoss) -> Tensor:
    """(B, N, size): a Gaussian around `center` (B, N) at the elements 0, 1, ...; of height 1, for softmax of sum 1."""
    at = torch.arange(size, dtype=center.dtype, device=center.device)
    exponent = -0.5 * ((at - center.unsqueeze(-1)) / sigma).square()
    return exponent.exp() if loss == "binary" else exponent.softmax(-1)


def gaussian_sum(sigma: Tensor) -> Tensor:
    """The sum over all elements of a Gaussian of height 1 with `sigma` (d,) elements."""
    return (math.sqrt(2 * math.pi) * sigma).prod()


def inside_grid(points: Tensor, states: Tensor, grid: Tensor) -> Tensor:
    """(B, N): whether a landmark is present and within a grid of `grid` (d,) elements; `points` (B, N, d) in these."""
    within = ((points >= -0.5) & (points < grid - 0.5)).all(-1)  # false for NaN
    return within & (states == State.PRESENT)


def _log_total(flat: Tensor) -> Tensor:
    """(B, N) log of the denominator of the softmax over the elements of `flat` (B, N, E) and outside."""
    inner = flat.logsumexp(-1)
    return torch.logaddexp(inner, torch.zeros_like(inner))
