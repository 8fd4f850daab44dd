"""What the plans of all U-Nets have in common: strides, the crop that fits into the memory, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts
from anatomark.methods.settings import Size

FEWEST_LEVELS = 3  # of MONAI's DynUNet, too
MOST_LEVELS = 8
HALVED_FROM = 12  # elements: a bottleneck of 6 to 11, all of which its convolutions and those before it see
BYTES_PER_ACTIVATION = 4  # half of what is kept for the backward pass is bfloat16


class UNetSettings(Protocol):
    """What may be asked of a U-Net and its training crops; `None` is decided by the plan."""

    @property
    def spacing(self) -> tuple[float, ...] | None: ...
    @property
    def pool(self) -> Size | None: ...
    @property
    def channels(self) -> Size | None: ...
    @property
    def strides(self) -> tuple[Size, ...] | None: ...
    @property
    def crop(self) -> Size | None: ...
    @property
    def batch(self) -> int | None: ...


@dataclass(frozen=True)
class UNetSizes:
    """The sizes of a U-Net and of its training: `image` (d,) elements of nearly all images, `budget` bytes a step."""

    spacing: tuple[float, ...]
    image: Size
    strides: tuple[Size, ...]
    channels: Size
    crop: Size
    batch: int
    budget: float

    @property
    def landmark_crop_fraction(self) -> float:
        """The part of the training crops that is drawn around a landmark: none where a crop is a whole image."""
        return 0.5 if any(n < size for n, size in zip(self.crop, self.image, strict=True)) else 0.0


def plan_sizes(
    asked: UNetSettings,
    facts: DataFacts,
    *,
    method: str,
    side: int,
    first_channels: int,
    most_channels: int,
    batch: int,
    other_sizes: Sequence[tuple[str, Size | None]] = (),
) -> UNetSizes:
    """The sizes that were asked for, completed from the data.

    At most `side` elements along the longest side of an image, and `batch` crops. `other_sizes` are settings of the
    method that need an entry for each axis, too. Raises SettingsError that names all that do not fit the data.
    """
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    longest = float(np.median([grid.extent for grid in facts.grids], axis=0).max())
    spacing = asked.spacing or tuple(np.maximum(native, longest / side).tolist())
    if faults := _faults(asked, d, [("spacing", spacing), *other_sizes], method):
        raise SettingsError("; ".join(faults))

    sizes = np.array([grid.extent for grid in facts.grids]) / np.asarray(spacing)
    image = tuple(math.ceil(n - 1e-6) for n in np.percentile(sizes, 90, axis=0))  # nearly all are as small
    strides = asked.strides or plan_strides(
        asked.crop or image, spacing, levels=len(asked.channels or ()), halve_first=not facts.on_gpu
    )
    channels = asked.channels or tuple(min(first_channels * 2**k, most_channels) for k in range(len(strides)))
    if len(channels) != len(strides):
        raise SettingsError(f"channels has {len(channels)} levels, strides has {len(strides)}; give as many of both")
    step = tuple(np.prod(strides, axis=0).tolist())
    if asked.crop and (any(n % m for n, m in zip(asked.crop, step, strict=True)) or asked.crop == step):
        raise SettingsError(f"crop {asked.crop} must be multiples of the strides' product {step}, and larger")

    budget = 0.4 * facts.memory_bytes
    crop = asked.crop or largest_crop(image, channels, strides, budget)
    one_crop = network_bytes(channels, strides, crop)
    if one_crop > 2 * budget:
        raise SettingsError(
            f"one training example needs about {one_crop / 2**30:.1f} GiB, {2 * budget / 2**30:.1f} GiB may be used; "
            "set a coarser spacing, a smaller crop or fewer channels"
        )
    fitting = asked.batch or int(max(1, min(batch, budget // one_crop)))
    return UNetSizes(spacing, image, strides, channels, crop, fitting, budget)


def _faults(
    asked: UNetSettings, ndim: int, lengths: Sequence[tuple[str, Sequence[float] | None]], method: str
) -> list[str]:
    """What of the settings does not go together, or not with images of `ndim` axes."""
    faults = [
        f"{name} has {len(value)} entries, the images have {ndim} axes"
        for name, value in (*lengths, ("pool", asked.pool), ("crop", asked.crop))
        if value is not None and len(value) != ndim
    ]
    if any(len(s) != ndim for s in asked.strides or ()):
        faults.append(f"strides {asked.strides} need {ndim} entries in each level, the images have {ndim} axes")
    if asked.pool is not None and any(n != 1 for n in asked.pool):
        faults.append(f"pool is {asked.pool}; {method} works at one resolution, set spacing instead")
    for name, value in (("channels", asked.channels), ("strides", asked.strides)):
        if value is not None and len(value) < FEWEST_LEVELS:
            faults.append(f"{name} has {len(value)} levels, at least {FEWEST_LEVELS} are needed")
    return faults


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
