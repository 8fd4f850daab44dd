"""The plan: settings that the data decide, filled in from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.interface import DataFacts
from anatomark.methods.two_stage.settings import TwoStageSettings
from anatomark.nets.grouped import window_values
from anatomark.nets.ladder import stride_and_margin

# Elements along the longest side of an image: a working resolution that the whole image is looked at in one pass.
SIDE = {2: 320, 3: 96}
SIDE_ON_GPU = {2: 640, 3: 160}
CHANNELS = {2: ((32, 32), (64, 64), (128, 128, 128)), 3: ((16,), (32, 32), (128, 128))}
CONTEXT = {2: (2, 4), 3: (2,)}
MANY_VOTES = 4_000_000  # of an image in training; where there would be more, patches are twice as far apart
CHANNELS_OF_MANY = {2: ((32, 32), (64, 64), (128, 128), (128, 128)), 3: ((16,), (32, 32), (64, 64), (128, 128))}
CONTEXT_OF_MANY: dict[int, tuple[int, ...]] = {2: (2,), 3: ()}
CROP_PATCHES = {2: 16, 3: 8}  # along each axis; a crop's margins cost as much, so many patches share them
STAGE1_BATCH = {2: 8, 3: 2}
STAGE2_BATCH, STAGE2_BATCH_ON_GPU = {2: 4, 3: 1}, 4  # with one volume a step, there are more steps in the same time
STEPS = {2: (1_500, 200, 1_500), 3: (1_200, 100, 1_200)}  # of the stages
STEPS_ON_GPU = (10_000, 1_000, 10_000)
NEAR = {2: 1 / 20, 3: 1 / 8}  # of the longest side
FAR_WEIGHT = {2: 0.1, 3: 0.01}  # there are more far patches in 3D
DISPLACEMENT_WEIGHT = {2: 1.0, 3: 0.3}
MOST_LOOKS = 100  # landmarks; with more, their small networks would take longer than the network of all
LOOK_LEVEL, LOOK_WINDOW = {2: 1, 3: 0}, {2: 64, 3: 16}  # finer features in 3D, whose elements are larger
LOOK_CHANNELS = {2: ((32, 32), (64, 64)), 3: ((16, 16), (32, 32))}
RIPPLE = {2: 0.1, 3: 0.0}
ENOUGH_IMAGES = 4  # in a step, for their statistics to stand for all
LARGEST_IMAGE = {2: 1024, 3: 256}  # along each axis; a larger one is trained on by parts
BYTES_PER_ACTIVATION = 10  # bf16 or fp32 values kept for the backward pass, with the normalisation's copies


def plan(settings: TwoStageSettings, facts: DataFacts, *, on_gpu: bool) -> TwoStageSettings:
    """The settings with everything filled in. Raises SettingsError that names all that do not fit the data."""
    d = facts.grids[0].ndim
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    extent = np.median([grid.extent for grid in facts.grids], axis=0)
    longest = float(extent.max())
    spacing = settings.spacing or tuple(np.maximum(native, longest / (SIDE_ON_GPU if on_gpu else SIDE)[d]).tolist())
    faults = [
        f"{name} has {len(value)} entries, the images have {d} axes"
        for name, value in (
            ("spacing", spacing),
            ("pool", settings.pool),
            ("stage1_crop", settings.stage1_crop),
            ("image", settings.image),
            ("look_window", settings.look_window),
        )
        if value is not None and len(value) != d
    ]
    patches = math.prod((extent / np.asarray(spacing) / 4).tolist()) if len(spacing) == d else 0
    many = facts.landmarks * patches > MANY_VOTES
    channels = settings.channels or (CHANNELS_OF_MANY if many else CHANNELS)[d]
    if not all(channels):
        faults.append(f"channels {channels} needs at least one convolution in each level")
    look, wrong = plan_look(settings, facts.landmarks, len(channels), d)
    faults += wrong
    if settings.pool is not None and any(n != 1 for n in settings.pool):
        faults.append(f"pool is {settings.pool}; two-stage works at one resolution, set spacing instead")
    if faults:
        raise SettingsError("; ".join(faults))
    context = settings.context
    if context is None:  # those that belong to other channels would make patches of any size
        context = () if settings.channels else (CONTEXT_OF_MANY if many else CONTEXT)[d]
    stride, margin = stride_and_margin(channels, context)
    crop = settings.stage1_crop or (CROP_PATCHES[d] * stride,) * d
    sizes = np.array([grid.extent for grid in facts.grids]) / np.asarray(spacing)
    image = settings.image or tuple(
        min(stride * math.ceil(n / stride - 1e-9), stride * (LARGEST_IMAGE[d] // stride))
        for n in np.percentile(sizes, 90, axis=0)
    )
    for name, value in (("stage1_crop", crop), ("image", image)):
        if any(n % stride for n in value):
            faults.append(f"{name} {value} must be multiples of {stride}, the stride of channels")
    if faults:
        raise SettingsError("; ".join(faults))
    budget = 0.5 * facts.memory_bytes
    one = training_bytes(channels, [n + 2 * margin for n in image], facts.landmarks, stride, settings.hidden)
    if look["look"]:
        features = [n // 2 ** look["look_level"] for n in look["look_window"]]
        one += facts.landmarks * window_values(look["look_channels"], features) * BYTES_PER_ACTIVATION
    if one > 2 * budget:
        raise SettingsError(
            f"one image of stage 2 needs about {one / 2**30:.1f} GiB, {2 * budget / 2**30:.1f} GiB may be used; "
            "set a coarser spacing, a smaller image or fewer channels"
        )
    stage2_batch = settings.stage2_batch or int(
        max(1, min(STAGE2_BATCH_ON_GPU if on_gpu else STAGE2_BATCH[d], budget // one))
    )
    steps = STEPS_ON_GPU if on_gpu else STEPS[d]
    fixed = stage2_batch < ENOUGH_IMAGES if settings.fixed_normalisation is None else settings.fixed_normalisation
    return settings.model_copy(
        update={
            "spacing": spacing,
            "pool": (1,) * d,
            "channels": channels,
            "context": context,
            "near": settings.near or longest * NEAR[d],
            "far_weight": _given(settings.far_weight, FAR_WEIGHT[d]),
            "displacement_weight": _given(settings.displacement_weight, DISPLACEMENT_WEIGHT[d]),
            "ripple": _given(settings.ripple, RIPPLE[d]),
            "stage1_crop": crop,
            "stage1_batch": settings.stage1_batch or STAGE1_BATCH[d],
            "stage1_steps": settings.stage1_steps or steps[0],
            **look,
            "look_jitter": _given(settings.look_jitter, stride * float(min(spacing))),
            "image": image,
            "stage2_batch": stage2_batch,
            "fixed_normalisation": fixed,
            "frozen_steps": settings.frozen_steps or steps[1],
            "stage2_steps": settings.stage2_steps or steps[2],
            "mirror": facts.has_pairs if settings.mirror is None else settings.mirror,
        }
    )


def plan_look(settings: TwoStageSettings, landmarks: int, levels: int, ndim: int) -> tuple[dict[str, Any], list[str]]:
    """The settings of the close look but for its jitter, and what does not fit together."""
    faults = []
    level = min(LOOK_LEVEL[ndim], levels - 1) if settings.look_level is None else settings.look_level
    if level >= levels:
        faults.append(f"look_level is {level}; channels has {levels} levels, of which 0 is the first")
    channels = settings.look_channels or LOOK_CHANNELS[ndim]
    if not all(channels):
        faults.append(f"look_channels {channels} needs at least one convolution in each level")
    window = settings.look_window or (LOOK_WINDOW[ndim],) * ndim
    cell = 2 ** (level + len(channels) - 1)
    if any(n % cell for n in window):
        faults.append(f"look_window {window} must be multiples of {cell}, a cell of look_channels")
    look = landmarks <= MOST_LOOKS if settings.look is None else settings.look
    return {"look": look, "look_level": level, "look_window": window, "look_channels": channels}, faults


def _given(value: float | None, otherwise: float) -> float:
    """The value, also a zero; `otherwise` without one."""
    return otherwise if value is None else value


def training_bytes(
    channels: Sequence[Sequence[int]], padded: Sequence[int], landmarks: int, stride: int, hidden: Sequence[int]
) -> float:
    """Rough memory (bytes) that training end to end takes for one image of `padded` elements."""
    d = len(padded)
    elements, total = float(math.prod(padded)), 0.0
    for level in channels:
        total += elements * sum(level) * 1.5
        elements /= 2**d
    patches = math.prod(padded) / stride**d
    total += patches * (sum(hidden) * 2 + landmarks * (d * 4 + 6))
    return total * BYTES_PER_ACTIVATION
