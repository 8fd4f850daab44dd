"""The plan: network and training completed from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import Channels, Size, planned_augmentation, stage_steps, take
from anatomark.methods.two_stage.config import TwoStageNetwork, TwoStageTraining
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.nets.grouped import window_values
from anatomark.nets.patch_net import stride_and_margin

TwoStagePlan = Plan[TwoStageNetwork, TwoStageTraining]

# Elements along the longest side of an image: a working resolution at which one pass sees the whole image.
SIDE = {2: 320, 3: 96}
SIDE_ON_GPU = {2: 640, 3: 160}
CHANNELS: dict[int, Channels] = {2: ((32, 32), (64, 64), (128, 128, 128)), 3: ((16,), (32, 32), (128, 128))}
DILATIONS: dict[int, Size] = {2: (2, 4), 3: (2,)}
MANY_VOTES = 4_000_000  # of an image in training; where there would be more, patches are twice as far apart
CHANNELS_OF_MANY: dict[int, Channels] = {
    2: ((32, 32), (64, 64), (128, 128), (128, 128)),
    3: ((16,), (32, 32), (64, 64), (128, 128)),
}
DILATIONS_OF_MANY: dict[int, Size] = {2: (2,), 3: ()}
CROP_PATCHES = {2: 16, 3: 8}  # along each axis; a crop's margins cost as much, so many patches share them
STAGE1_BATCH = {2: 8, 3: 2}
STAGE2_BATCH, STAGE2_BATCH_ON_GPU = {2: 4, 3: 1}, 4  # with one volume a step, there are more steps in the same time
STEPS = {
    2: {"stage1": 1_500, "stage2_frozen": 200, "stage2": 1_500},
    3: {"stage1": 1_200, "stage2_frozen": 100, "stage2": 1_200},
}
STEPS_ON_GPU = {"stage1": 10_000, "stage2_frozen": 1_000, "stage2": 10_000}
SHARE = {"stage1": 0.3, "stage2_frozen": 0.05, "stage2": 0.65}  # of a time budget
DISTANCE_DECAY = {2: 1 / 20, 3: 1 / 8}  # of the longest side
DISPLACEMENT_WEIGHT = {2: 1.0, 3: 0.3}
MOST_REFINED = 100  # landmarks; with more, their small networks would take longer than the network of all
REFINE_LEVEL, REFINE_WINDOW = {2: 1, 3: 0}, {2: 64, 3: 16}  # finer features in 3D, whose elements are larger
REFINE_CHANNELS: dict[int, Channels] = {2: ((32, 32), (64, 64)), 3: ((16, 16), (32, 32))}
ELASTIC_FINE = {2: 0.1, 3: 0.0}
LARGEST_CROP = {2: 1024, 3: 256}  # along each axis; a larger image is trained on by parts
BYTES_PER_ACTIVATION = 10  # bf16 or fp32 values kept for the backward pass, with the normalisation's copies


def plan(asked: TwoStageSettings, facts: DataFacts) -> TwoStagePlan:
    """Network and training. Raises SettingsError that names all settings that do not fit the data."""
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    extent = np.median([grid.extent for grid in facts.grids], axis=0)
    longest = float(extent.max())
    side = SIDE_ON_GPU if facts.on_gpu else SIDE
    spacing = asked.spacing or tuple(np.maximum(native, longest / side[d]).tolist())
    patches = math.prod((extent / np.asarray(spacing) / 4).tolist()) if len(spacing) == d else 0
    many = facts.landmarks * patches > MANY_VOTES
    channels = asked.channels or (CHANNELS_OF_MANY if many else CHANNELS)[d]
    refinement = _refinement(asked, facts.landmarks, len(channels), d)
    if faults := _faults(asked, d, spacing, channels, refinement):
        raise SettingsError("; ".join(faults))
    dilations = asked.dilations
    if dilations is None:  # those that belong to other channels would make patches of any size
        dilations = () if asked.channels else (DILATIONS_OF_MANY if many else DILATIONS)[d]
    stride, margin = stride_and_margin(channels, dilations)
    stage1_crop = asked.stage1_crop or (CROP_PATCHES[d] * stride,) * d
    sizes = np.array([grid.extent for grid in facts.grids]) / np.asarray(spacing)
    stage2_crop = asked.stage2_crop or tuple(
        min(stride * math.ceil(n / stride - 1e-9), stride * (LARGEST_CROP[d] // stride))
        for n in np.percentile(sizes, 90, axis=0)
    )
    if faults := [
        f"{name} {value} must be multiples of {stride}, the stride of channels"
        for name, value in (("stage1_crop", stage1_crop), ("stage2_crop", stage2_crop))
        if any(n % stride for n in value)
    ]:
        raise SettingsError("; ".join(faults))
    one_crop, one = (
        patch_bytes(channels, facts.landmarks, asked.head_channels, [n + 2 * margin for n in crop])
        for crop in (stage1_crop, stage2_crop)
    )
    one += refinement_bytes(refinement, facts.landmarks)
    if one > facts.memory_bytes:
        raise SettingsError(
            f"one image of stage 2 needs about {one / 2**30:.1f} GiB, {facts.memory_bytes / 2**30:.1f} GiB may be "
            "used; set a coarser spacing, a smaller stage2_crop or fewer channels"
        )
    stage1_batch = asked.stage1_batch or int(max(1, min(STAGE1_BATCH[d], facts.memory_bytes // one_crop)))
    most = STAGE2_BATCH_ON_GPU if facts.on_gpu else STAGE2_BATCH[d]
    stage2_batch = asked.stage2_batch or int(max(1, min(most, 0.5 * facts.memory_bytes // one)))
    batches = {"stage1": stage1_batch, "stage2_frozen": stage2_batch, "stage2": stage2_batch}
    own = {"stage1": asked.stage1_steps, "stage2_frozen": asked.frozen_steps, "stage2": asked.stage2_steps}
    defaults = STEPS_ON_GPU if facts.on_gpu else STEPS[d]
    steps = {
        stage: stage_steps(asked, own[stage], defaults[stage], cases=len(facts.grids), batch=batch, share=SHARE[stage])
        for stage, batch in batches.items()
    }
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": spacing,
        "pool": (1,) * d,
        "channels": channels,
        "dilations": dilations,
        "refine": refinement.used,
        "refine_level": refinement.level,
        "refine_window": refinement.window,
        "refine_channels": refinement.channels,
        "distance_decay": asked.distance_decay or longest * DISTANCE_DECAY[d],
        "displacement_weight": (
            DISPLACEMENT_WEIGHT[d] if asked.displacement_weight is None else asked.displacement_weight
        ),
        "stage1_crop": stage1_crop,
        "stage1_batch": stage1_batch,
        "stage1_steps": steps["stage1"],
        "stage2_crop": stage2_crop,
        "stage2_batch": stage2_batch,
        "frozen_steps": steps["stage2_frozen"],
        "stage2_steps": steps["stage2"],
        **planned_augmentation(
            asked, has_pairs=facts.has_pairs, ndim=d, turn_degrees=facts.turn_degrees, elastic_fine=ELASTIC_FINE[d]
        ),
    }
    return Plan(take(TwoStageNetwork, asked, planned), take(TwoStageTraining, asked, planned))


@dataclass(frozen=True)
class Refinement:
    """Whether there is a refinement, and what it sees: the settings refine and refine_level, _window, _channels."""

    used: bool
    level: int
    window: Size
    channels: Channels

    @property
    def cell(self) -> int:
        """Elements along each axis of a cell."""
        return 2 ** (self.level + len(self.channels) - 1)


def _refinement(asked: TwoStageSettings, landmarks: int, levels: int, ndim: int) -> Refinement:
    return Refinement(
        landmarks <= MOST_REFINED if asked.refine is None else asked.refine,
        min(REFINE_LEVEL[ndim], levels - 1) if asked.refine_level is None else asked.refine_level,
        asked.refine_window or (REFINE_WINDOW[ndim],) * ndim,
        asked.refine_channels or REFINE_CHANNELS[ndim],
    )


def _faults(
    asked: TwoStageSettings, ndim: int, spacing: Sequence[float], channels: Channels, refinement: Refinement
) -> list[str]:
    """What of the settings does not go together, or not with images of `ndim` axes."""
    faults = [
        f"{name} has {len(value)} entries, the images have {ndim} axes"
        for name, value in (
            ("spacing", spacing),
            ("pool", asked.pool),
            ("stage1_crop", asked.stage1_crop),
            ("stage2_crop", asked.stage2_crop),
            ("refine_window", asked.refine_window),
        )
        if value is not None and len(value) != ndim
    ]
    for name, levels in (("channels", channels), ("refine_channels", refinement.channels)):
        if not all(levels):
            faults.append(f"{name} {levels} needs at least one convolution in each level")
    if refinement.level >= len(channels):
        faults.append(
            f"refine_level is {refinement.level}; channels has {len(channels)} levels, of which 0 is the first"
        )
    if any(n % refinement.cell for n in refinement.window):
        faults.append(
            f"refine_window {refinement.window} must be multiples of {refinement.cell}, a cell of refine_channels"
        )
    if asked.pool is not None and any(n != 1 for n in asked.pool):
        faults.append(f"pool is {asked.pool}; two-stage works at one resolution, set spacing instead")
    return faults


def patch_bytes(channels: Channels, landmarks: int, head_channels: Sequence[int], padded: Sequence[int]) -> float:
    """Rough memory (bytes) that the patch network's training keeps of one image of `padded` elements."""
    d = len(padded)
    elements, total = float(math.prod(padded)), 0.0
    for level in channels:
        total += elements * sum(level) * 1.5
        elements /= 2**d
    patches = math.prod(padded) / 2 ** ((len(channels) - 1) * d)
    total += patches * (sum(head_channels) * 2 + landmarks * (d * 4 + 6))
    return total * BYTES_PER_ACTIVATION


def refinement_bytes(refinement: Refinement, landmarks: int) -> float:
    """And what the refinement keeps of its windows."""
    if not refinement.used:
        return 0.0
    features = [n // 2**refinement.level for n in refinement.window]
    return landmarks * window_values(refinement.channels, features) * BYTES_PER_ACTIVATION
