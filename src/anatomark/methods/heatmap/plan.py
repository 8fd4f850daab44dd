"""The plan: network and training completed from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.heatmap.config import HeatmapNetwork, HeatmapTraining
from anatomark.methods.heatmap.network import require_monai
from anatomark.methods.heatmap.settings import HeatmapSettings
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import planned_augmentation, stage_steps, take
from anatomark.methods.unet_plan import FEWEST_LEVELS, largest_crop, network_bytes, plan_strides

HeatmapPlan = Plan[HeatmapNetwork, HeatmapTraining]

# Elements along the longest side of an image: the finest working resolution that trains in reasonable time.
SIDE = {2: 512, 3: 128}
SIDE_ON_GPU = {2: 768, 3: 192}
FIRST_CHANNELS = {2: 32, 3: 24}
MOST_CHANNELS = 256
STEPS = {2: 1_500, 3: 1_300}
STEPS_ON_GPU = {2: 15_000, 3: 6_000}
SHARE = 1.0  # of a time budget: there is one stage
BATCH = {2: 4, 3: 2}
SIGMA = 1.0  # elements of the heatmap
TILE_BYTES = 2**29  # of heatmaps that exist at a time; with more it would be no faster
MAPS = 3  # of 4 bytes: a heatmap, its probabilities and its gradient


def plan(asked: HeatmapSettings, facts: DataFacts) -> HeatmapPlan:
    """Network and training. Raises SettingsError that names all settings that do not fit the data.

    Without MONAI, raises MissingExtraError.
    """
    require_monai()
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    longest = float(np.median([grid.extent for grid in facts.grids], axis=0).max())
    side = (SIDE_ON_GPU if facts.on_gpu else SIDE)[d]
    spacing = asked.spacing or tuple(np.maximum(native, longest / side).tolist())
    if faults := _faults(asked, spacing, d):
        raise SettingsError("; ".join(faults))

    sizes = np.array([grid.extent for grid in facts.grids]) / np.asarray(spacing)
    image = tuple(math.ceil(n - 1e-6) for n in np.percentile(sizes, 90, axis=0))  # nearly all are as small
    strides = asked.strides or plan_strides(
        asked.crop or image, spacing, levels=len(asked.channels or ()), halve_first=not facts.on_gpu
    )
    channels = asked.channels or tuple(min(FIRST_CHANNELS[d] * 2**k, MOST_CHANNELS) for k in range(len(strides)))
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
    batch = asked.batch or int(max(1, min(BATCH[d], budget // one_crop)))
    fitting = min(0.25 * budget, TILE_BYTES) // (batch * heatmap_bytes(crop, strides[0]))
    steps = (STEPS_ON_GPU if facts.on_gpu else STEPS)[d]
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": spacing,
        "pool": (1,) * d,
        "strides": strides,
        "channels": channels,
        "crop": crop,
        "sigma": asked.sigma or SIGMA * float(np.min(np.asarray(spacing) * strides[0])),
        "landmarks_per_tile": asked.landmarks_per_tile or int(min(facts.landmarks, max(1, fitting))),
        "landmark_crop_fraction": 0.5 if any(n < size for n, size in zip(crop, image, strict=True)) else 0.0,
        "batch": batch,
        "steps": stage_steps(asked, asked.steps, steps, cases=len(facts.grids), batch=batch, share=SHARE),
        **planned_augmentation(asked, has_pairs=facts.has_pairs, ndim=d, turn_degrees=facts.turn_degrees),
    }
    return Plan(take(HeatmapNetwork, asked, planned), take(HeatmapTraining, asked, planned))


def _faults(asked: HeatmapSettings, spacing: Sequence[float], ndim: int) -> list[str]:
    """What of the settings does not go together, or not with images of `ndim` axes."""
    faults = [
        f"{name} has {len(value)} entries, the images have {ndim} axes"
        for name, value in (("spacing", spacing), ("pool", asked.pool), ("crop", asked.crop))
        if value is not None and len(value) != ndim
    ]
    if any(len(s) != ndim for s in asked.strides or ()):
        faults.append(f"strides {asked.strides} need {ndim} entries in each level, the images have {ndim} axes")
    if asked.pool is not None and any(n != 1 for n in asked.pool):
        faults.append(f"pool is {asked.pool}; heatmap works at one resolution, set spacing instead")
    for name, value in (("channels", asked.channels), ("strides", asked.strides)):
        if value is not None and len(value) < FEWEST_LEVELS:
            faults.append(f"{name} has {len(value)} levels, at least {FEWEST_LEVELS} are needed")
    return faults


def heatmap_bytes(crop: Sequence[int], stride: Sequence[int]) -> float:
    """Memory (bytes) that training takes for the heatmap of one landmark in one crop."""
    return MAPS * 4 * math.prod(crop) / math.prod(stride)
