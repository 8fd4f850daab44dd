"""The plan: network and training completed from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.methods.heatmap.config import HeatmapNetwork, HeatmapTraining
from anatomark.methods.heatmap.network import require_monai
from anatomark.methods.heatmap.settings import HeatmapSettings
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import planned_augmentation, stage_steps, take
from anatomark.methods.unet_plan import plan_sizes

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
    sizes = plan_sizes(
        asked,
        facts,
        method="heatmap",
        side=(SIDE_ON_GPU if facts.on_gpu else SIDE)[d],
        first_channels=FIRST_CHANNELS[d],
        most_channels=MOST_CHANNELS,
        batch=BATCH[d],
    )
    spacing, strides, crop, batch = sizes.spacing, sizes.strides, sizes.crop, sizes.batch
    fitting = min(0.25 * sizes.budget, TILE_BYTES) // (batch * heatmap_bytes(crop, strides[0]))
    steps = (STEPS_ON_GPU if facts.on_gpu else STEPS)[d]
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": spacing,
        "pool": (1,) * d,
        "strides": strides,
        "channels": sizes.channels,
        "crop": crop,
        "sigma": asked.sigma or SIGMA * float(np.min(np.asarray(spacing) * strides[0])),
        "landmarks_per_tile": asked.landmarks_per_tile or int(min(facts.landmarks, max(1, fitting))),
        "landmark_crop_fraction": sizes.landmark_crop_fraction,
        "batch": batch,
        "steps": stage_steps(asked, asked.steps, steps, cases=len(facts.grids), batch=batch, share=SHARE),
        **planned_augmentation(asked, has_pairs=facts.has_pairs, ndim=d, turn_degrees=facts.turn_degrees),
    }
    return Plan(take(HeatmapNetwork, asked, planned), take(HeatmapTraining, asked, planned))


def heatmap_bytes(crop: Sequence[int], stride: Sequence[int]) -> float:
    """Memory (bytes) that training takes for the heatmap of one landmark in one crop."""
    return MAPS * 4 * math.prod(crop) / math.prod(stride)
