"""What the plans of all U-Nets have in common: strides, the crop that fits into the memory, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.methods.settings import Size

FEWEST_LEVELS = 3  # of MONAI's DynUNet, too
MOST_LEVELS = 8
HALVED_FROM = 12  # elements: a bottleneck of 6 to 11, all of which its convolutions and those before it see
BYTES_PER_ACTIVATION = 4  # half of what is kept for the backward pass is bfloat16


def plan_strides(
    size: Sequence[int], spacing: Sequence[float], *, levels: int = 0, halve_first: bool = False
) -> tuple[Size, ...]:
    """Strides of each level and axis: halved as long as an axis is long, coarse axes once the others are as coarse.

    `levels` is their number; 0: as many as it takes. With `halve_first` heatmaps have half the resolution
    of the image already: a quarter (2D) or an eighth (3D) of the work, and points lie between elements anyway.
    """
    left, now = np.asarray(size, dtype=float), np.asarray(spacing, dtype=float)
    strides: list[Size] = [] if halve_first else [(1,) * len(left)]
    while len(strides) < (levels or MOST_LEVELS):
        long = left >= HALVED_FROM
        if not long.any() and len(strides) >= max(levels, FEWEST_LEVELS):
            break
        halved = long & (now <= 1.5 * now[long].min(initial=np.inf))
        strides.append(tuple(2 if h else 1 for h in halved))
        left, now = np.where(halved, left / 2, left), np.where(halved, now * 2, now)
    return tuple(strides)


def largest_crop(
    image: Sequence[int], channels: Sequence[int], strides: Sequence[Sequence[int]], budget: float
) -> Size:
    """The size of the `image`, in multiples of the strides' product, or the largest crop of its shape that fits.

    `budget` is the memory (bytes) that one crop may take.
    """
    step = np.prod(strides, axis=0)
    crop = tuple(image)
    for part in np.linspace(1, 0, 64, endpoint=False):
        blocks = [max(1, math.ceil(n * part / m)) for n, m in zip(image, step, strict=True)]
        if math.prod(blocks) == 1:  # an instance norm needs two elements
            blocks[-1] = 2
        crop = tuple(int(k * m) for k, m in zip(blocks, step, strict=True))
        if network_bytes(channels, strides, crop) <= budget:
            break
    return crop


def network_bytes(channels: Sequence[int], strides: Sequence[Sequence[int]], crop: Sequence[int]) -> float:
    """Rough memory (bytes) that training of the U-Net takes for one crop: without heatmaps, weights and optimiser."""
    elements, total = float(math.prod(crop)), 0.0
    for width, stride in zip(channels, strides, strict=True):
        elements /= math.prod(stride)
        total += elements * width * 14  # two blocks of two convolutions, norms and activations, and what is joined
    return total * BYTES_PER_ACTIVATION
