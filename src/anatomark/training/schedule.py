"""What changes from step to step: the learning rate, the average of the weights, and whose turn it is."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

WARM_UP_STEPS = 50


def rate_factor(schedule: str, step: int, steps: int) -> float:
    """The share of the peak learning rate at `step` of `steps`.

    "warm-restarts" is a cosine over 10 000 steps, then over twice as many, and so on (arXiv 2007.05295).
    """
    if schedule == "constant":
        return 1.0
    if schedule == "warm-restarts":
        length = 10_000
        while step >= length:
            step, length = step - length, 2 * length
        return 0.5 + 0.5 * math.cos(math.pi * step / length)
    warm_up = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 4)))
    return warm_up * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def update_average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """averaged = decay * averaged + (1 - decay) * network, for parameters and floating-point buffers."""
    with torch.no_grad():
        for mean, now in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)


def shuffled(position: int, count: int, seed: int) -> int:
    """The case at `position` of an endless sequence that goes through all cases, in another order each time."""
    epoch, place = divmod(position, count)
    return int(_order(epoch, count, seed)[place])


@lru_cache(maxsize=2)  # a batch may reach from one round into the next
def _order(epoch: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 7, epoch]).permutation(count)
