"""The plan: network and training completed from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import Size, planned_augmentation, stage_steps, take
from anatomark.methods.unet_plan import FEWEST_LEVELS, largest_crop, network_bytes, plan_strides
from anatomark.methods.unet_votes.config import UNetVotesNetwork, UNetVotesTraining
from anatomark.methods.unet_votes.settings import UNetVotesSettings

UNetVotesPlan = Plan[UNetVotesNetwork, UNetVotesTraining]

# Elements along the longest side of an image: with more of them, or larger batches, there are fewer steps in the same
# time, which cost more accuracy than finer patches brought (after 3 and 5 minutes).
SIDE = {2: 512, 3: 96}
SIDE_ON_GPU = {2: 768, 3: 192}
FIRST_CHANNELS = 16
MOST_CHANNELS = 128
COARSE_SIDE = {2: 32, 3: 16}  # patches along the longest side, at most, that cast the global votes
WINDOW = {2: 16, 3: 10}  # patches along each side of a window
STEPS = {2: 3_000, 3: 2_500}
STEPS_ON_GPU = {2: 20_000, 3: 10_000}
BATCH = {2: 2, 3: 1}
PER_STEP = 48  # landmarks that are looked at closely in a step: with more it learns no more from it, but takes longer
WINDOW_BYTES = 2**28  # of the features in the windows of a step


def plan(asked: UNetVotesSettings, facts: DataFacts) -> UNetVotesPlan:
    """Network and training. Raises SettingsError that names all settings that do not fit the data."""
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
    channels = asked.channels or tuple(min(FIRST_CHANNELS * 2**k, MOST_CHANNELS) for k in range(len(strides)))
    if len(channels) != len(strides):
        raise SettingsError(f"channels has {len(channels)} levels, strides has {len(strides)}; give as many of both")
    step = tuple(np.prod(strides, axis=0).tolist())
    if asked.crop and any(n % m for n, m in zip(asked.crop, step, strict=True)):
        raise SettingsError(f"crop {asked.crop} must be multiples of the strides' product {step}")
    coarse = asked.coarse_level or _coarse_level(image, strides, COARSE_SIDE[d])
    if coarse >= len(strides):
        raise SettingsError(f"coarse_level is {coarse}, strides has {len(strides)} levels from 0 on")

    budget = 0.4 * facts.memory_bytes
    crop = asked.crop or largest_crop(image, channels, strides, budget)
    one_crop = network_bytes(channels, strides, crop)
    if one_crop > 2 * budget:
        raise SettingsError(
            f"one training example needs about {one_crop / 2**30:.1f} GiB, {2 * budget / 2**30:.1f} GiB may be used; "
            "set a coarser spacing, a smaller crop or fewer channels"
        )
    batch = asked.batch or int(max(1, min(BATCH[d], budget // one_crop)))
    window = asked.local_window or tuple(WINDOW[d] * s for s in strides[0])
    if any(n % s for n, s in zip(window, strides[0], strict=True)):
        raise SettingsError(f"local_window {window} must be multiples of {strides[0]}, the first strides")
    patches = [n // s for n, s in zip(window, strides[0], strict=True)]
    fitting = min(0.25 * budget, WINDOW_BYTES) // (batch * window_bytes(patches, asked.local_head))
    steps = (STEPS_ON_GPU if facts.on_gpu else STEPS)[d]
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": spacing,
        "pool": (1,) * d,
        "strides": strides,
        "channels": channels,
        "coarse_level": coarse,
        "local_window": window,
        "crop": crop,
        "local_landmarks_per_step": asked.local_landmarks_per_step
        or int(min(facts.landmarks, PER_STEP, max(1, fitting))),
        "landmark_crop_fraction": 0.5 if any(n < size for n, size in zip(crop, image, strict=True)) else 0.0,
        "batch": batch,
        "steps": stage_steps(asked, asked.steps, steps, cases=len(facts.grids), batch=batch, share=1.0),
        **planned_augmentation(asked, has_pairs=facts.has_pairs, ndim=d, turn_degrees=facts.turn_degrees),
    }
    return Plan(take(UNetVotesNetwork, asked, planned), take(UNetVotesTraining, asked, planned))


def window_bytes(window: Sequence[int], head: int) -> float:
    """Memory (bytes) that training takes for a window (d,) patches of one landmark in one crop."""
    return 3 * 4 * math.prod(window) * 2 * head


def _coarse_level(image: Sequence[int], strides: Sequence[Size], most: int) -> int:
    """The finest level, but the first, with at most so many patches along the longest side of the image."""
    left = np.asarray(image) / strides[0]
    for level, stride in enumerate(strides[1:], start=1):
        left = left / stride
        if left.max() <= most:
            return level
    return len(strides) - 1


def _faults(asked: UNetVotesSettings, spacing: Sequence[float], ndim: int) -> list[str]:
    """What of the settings does not go together, or not with images of `ndim` axes."""
    faults = [
        f"{name} has {len(value)} entries, the images have {ndim} axes"
        for name, value in (
            ("spacing", spacing),
            ("pool", asked.pool),
            ("crop", asked.crop),
            ("local_window", asked.local_window),
        )
        if value is not None and len(value) != ndim
    ]
    if any(len(s) != ndim for s in asked.strides or ()):
        faults.append(f"strides {asked.strides} need {ndim} entries in each level, the images have {ndim} axes")
    if asked.pool is not None and any(n != 1 for n in asked.pool):
        faults.append(f"pool is {asked.pool}; unet-votes works at one resolution, set spacing instead")
    for name, value in (("channels", asked.channels), ("strides", asked.strides)):
        if value is not None and len(value) < FEWEST_LEVELS:
            faults.append(f"{name} has {len(value)} levels, at least {FEWEST_LEVELS} are needed")
    return faults
