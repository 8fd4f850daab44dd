"""The plan: network and training completed from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import Size, planned_augmentation, stage_steps, take
from anatomark.methods.unet_plan import plan_sizes
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
    sizes = plan_sizes(
        asked,
        facts,
        method="unet-votes",
        side=(SIDE_ON_GPU if facts.on_gpu else SIDE)[d],
        first_channels=FIRST_CHANNELS,
        most_channels=MOST_CHANNELS,
        batch=BATCH[d],
        other_sizes=[("local_window", asked.local_window)],
    )
    strides, batch = sizes.strides, sizes.batch
    coarse = asked.coarse_level or _coarse_level(sizes.image, strides, COARSE_SIDE[d])
    if coarse >= len(strides):
        raise SettingsError(f"coarse_level is {coarse}, strides has {len(strides)} levels from 0 on")
    window = asked.local_window or tuple(WINDOW[d] * s for s in strides[0])
    if any(n % s for n, s in zip(window, strides[0], strict=True)):
        raise SettingsError(f"local_window {window} must be multiples of {strides[0]}, the first strides")
    patches = [n // s for n, s in zip(window, strides[0], strict=True)]
    fitting = min(0.25 * sizes.budget, WINDOW_BYTES) // (batch * window_bytes(patches, asked.local_head))
    steps = (STEPS_ON_GPU if facts.on_gpu else STEPS)[d]
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": sizes.spacing,
        "pool": (1,) * d,
        "strides": strides,
        "channels": sizes.channels,
        "coarse_level": coarse,
        "local_window": window,
        "crop": sizes.crop,
        "local_landmarks_per_step": asked.local_landmarks_per_step
        or int(min(facts.landmarks, PER_STEP, max(1, fitting))),
        "landmark_crop_fraction": sizes.landmark_crop_fraction,
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
