"""The plan: settings that the data decide, filled in from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.heatmap.network import require_monai
from anatomark.methods.heatmap.settings import HeatmapSettings
from anatomark.methods.interface import DataFacts

# Elements along the longest side of an image: the finest working resolution that trains in reasonable time.
SIDE = {2: 512, 3: 128}
SIDE_GPU = {2: 768, 3: 192}
FIRST_CHANNELS = {2: 32, 3: 24}
MOST_CHANNELS = 256
STEPS = {2: 1_500, 3: 1_300}
STEPS_GPU = {2: 15_000, 3: 6_000}
BATCH = {2: 4, 3: 2}
FEWEST_LEVELS = 3  # of MONAI's DynUNet
MOST_LEVELS = 8
HALVED_FROM = 12  # elements: a bottleneck of 6 to 11, over all of which its convolutions and those before it look
SIGMA = 1.0  # elements of the heatmap
BYTES_PER_ACTIVATION = 4  # half of what is kept for the backward pass is bfloat16
TILE_BYTES = 2**29  # of heatmaps that exist at a time; with more it would be no faster
MAPS = 3  # of 4 bytes: a heatmap, its probabilities and its gradient


def plan(settings: HeatmapSettings, facts: DataFacts, *, on_gpu: bool) -> HeatmapSettings:
    """The settings with everything filled in.

    Raises SettingsError where a setting does not fit the data, naming all faults at once; MissingExtraError without
    MONAI.
    """
    require_monai()
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    longest = float(np.median([grid.extent for grid in facts.grids], axis=0).max())
    side = (SIDE_GPU if on_gpu else SIDE)[d]
    spacing = settings.spacing or tuple(np.maximum(native, longest / side).tolist())
    _require_sound(settings, spacing, d)

    sizes = np.array([grid.extent for grid in facts.grids]) / np.asarray(spacing)
    whole = [math.ceil(n - 1e-6) for n in np.percentile(sizes, 90, axis=0)]
    strides = settings.strides or plan_strides(
        settings.crop or whole, spacing, levels=len(settings.channels or ()), halve_first=not on_gpu
    )
    channels = settings.channels or tuple(min(FIRST_CHANNELS[d] * 2**k, MOST_CHANNELS) for k in range(len(strides)))
    if len(channels) != len(strides):
        raise SettingsError(f"channels has {len(channels)} levels, strides has {len(strides)}; give as many of both")
    step = tuple(np.prod(strides, axis=0).tolist())
    if settings.crop and (any(n % m for n, m in zip(settings.crop, step, strict=True)) or settings.crop == step):
        raise SettingsError(f"crop {settings.crop} must be multiples of the strides' product {step}, and larger")

    budget = 0.4 * facts.memory_bytes
    crop = settings.crop or largest_crop(whole, channels, strides, budget)
    one = network_bytes(channels, strides, crop)
    if one > 2 * budget:
        raise SettingsError(
            f"one training example needs about {one / 2**30:.1f} GiB, {2 * budget / 2**30:.1f} GiB may be used; "
            "set a coarser spacing, a smaller crop or fewer channels"
        )
    batch = settings.batch or int(max(1, min(BATCH[d], budget // one)))
    one_map = MAPS * 4 * batch * math.prod(crop) / math.prod(strides[0])
    partial = any(n < size for n, size in zip(crop, whole, strict=True))
    near = settings.near_landmarks
    return settings.model_copy(
        update={
            "spacing": spacing,
            "pool": (1,) * d,
            "strides": strides,
            "channels": channels,
            "crop": crop,
            "near_landmarks": (0.5 if partial else 0.0) if near is None else near,
            "batch": batch,
            "steps": settings.steps or (STEPS_GPU if on_gpu else STEPS)[d],
            "sigma": settings.sigma or SIGMA * float(np.min(np.asarray(spacing) * strides[0])),
            "landmarks_per_tile": settings.landmarks_per_tile
            or int(min(facts.landmarks, max(1, min(0.25 * budget, TILE_BYTES) // one_map))),
            "mirror": facts.has_pairs if settings.mirror is None else settings.mirror,
        }
    )


def _require_sound(settings: HeatmapSettings, spacing: Sequence[float], d: int) -> None:
    faults = [
        f"{name} has {len(value)} entries, the images have {d} axes"
        for name, value in (("spacing", spacing), ("pool", settings.pool), ("crop", settings.crop))
        if value is not None and len(value) != d
    ]
    if any(len(s) != d for s in settings.strides or ()):
        faults.append(f"strides {settings.strides} need {d} entries in each level, the images have {d} axes")
    if settings.pool is not None and any(n != 1 for n in settings.pool):
        faults.append(f"pool is {settings.pool}; heatmap works at one resolution, set spacing instead")
    for name, value in (("channels", settings.channels), ("strides", settings.strides)):
        if value is not None and len(value) < FEWEST_LEVELS:
            faults.append(f"{name} has {len(value)} levels, at least {FEWEST_LEVELS} are needed")
    if faults:
        raise SettingsError("; ".join(faults))


def plan_strides(
    size: Sequence[int], spacing: Sequence[float], *, levels: int = 0, halve_first: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Strides of each level and axis: halved as long as an axis is long, coarse axes once the others are as coarse.

    `levels` says how many there are to be; 0: as many as it takes. With `halve_first` heatmaps have half the resolution
    of the image already: a quarter (2D) or an eighth (3D) of the work, and points lie between elements anyway.
    """
    left, now = np.asarray(size, dtype=float), np.asarray(spacing, dtype=float)
    strides: list[tuple[int, ...]] = [] if halve_first else [(1,) * len(left)]
    while len(strides) < (levels or MOST_LEVELS):
        long = left >= HALVED_FROM
        if not long.any() and len(strides) >= max(levels, FEWEST_LEVELS):
            break
        halved = long & (now <= 1.5 * now[long].min(initial=np.inf))
        strides.append(tuple(2 if h else 1 for h in halved))
        left, now = np.where(halved, left / 2, left), np.where(halved, now * 2, now)
    return tuple(strides)


def largest_crop(
    whole: Sequence[int], channels: Sequence[int], strides: Sequence[Sequence[int]], budget: float
) -> tuple[int, ...]:
    """The whole image, in multiples of the strides' product, or the largest crop of its shape that memory holds."""
    step = np.prod(strides, axis=0)
    crop = whole
    for share in np.linspace(1, 0, 64, endpoint=False):
        blocks = [max(1, math.ceil(n * share / m)) for n, m in zip(whole, step, strict=True)]
        if math.prod(blocks) == 1:  # an instance norm needs two elements
            blocks[-1] = 2
        crop = tuple(int(k * m) for k, m in zip(blocks, step, strict=True))
        if network_bytes(channels, strides, crop) <= budget:
            break
    return tuple(crop)


def network_bytes(channels: Sequence[int], strides: Sequence[Sequence[int]], crop: Sequence[int]) -> float:
    """Rough memory (bytes) that training of the U-Net takes for one crop: without heatmaps, weights and optimiser."""
    elements, total = float(math.prod(crop)), 0.0
    for width, stride in zip(channels, strides, strict=True):
        elements /= math.prod(stride)
        total += elements * width * 14  # two blocks of two convolutions, norms and activations, and what is joined
    return total * BYTES_PER_ACTIVATION
