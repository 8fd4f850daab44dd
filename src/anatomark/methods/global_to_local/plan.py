"""The plan: network and training completed from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.global_to_local.config import GlobalToLocalNetwork, GlobalToLocalTraining
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
from anatomark.methods.interface import DataFacts, Plan
from anatomark.methods.settings import planned_augmentation, stage_steps, take
from anatomark.methods.vote_loss import CLASS_WEIGHT
from anatomark.nets.grouped import window_values
from anatomark.nets.residual import crop_values

GlobalToLocalPlan = Plan[GlobalToLocalNetwork, GlobalToLocalTraining]

# Elements along the longest side of an image: a working resolution that one pass and one window can look over.
FINE_SIDE = {2: 512, 3: 160}
COARSE_SIDE = {2: 256, 3: 80}
LARGEST_CROP = {2: 320, 3: 112}
LARGEST_WINDOW = {2: 96, 3: 40}
SMALLEST_WINDOW = {2: 64, 3: 24}
STEPS, STEPS_ON_GPU = {"global": 1_500, "local": 3_000}, {"global": 10_000, "local": 20_000}
SHARE = {"global": 0.35, "local": 0.65}  # of a time budget
BATCH = {2: 4, 3: 2}
MANY = 50  # landmarks, from which on they share a local network
SHARED_PER_STEP = 8  # of them in a step: their windows all teach it
BYTES_PER_ACTIVATION = 8  # bf16 or fp32 values kept for the backward pass, with the normalisation's copies


def plan(asked: GlobalToLocalSettings, facts: DataFacts) -> GlobalToLocalPlan:
    """Network and training; window, jitter and class weight of the local stage stand for the most that may come.

    `size_local` decides these by the errors of the global stage. Raises SettingsError where a setting does not fit the
    data, naming all faults at once.
    """
    d = facts.grids[0].ndim
    finer = 2 if facts.on_gpu else 1
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    extent = np.median([grid.extent for grid in facts.grids], axis=0)
    longest = float(extent.max())
    spacing = asked.spacing or tuple(np.maximum(native, longest / (FINE_SIDE[d] * finer)).tolist())
    channels = asked.local_channels
    if channels is None:
        channels = ((32, 32), (48, 48), (64, 64, 64)) if d == 2 else ((16, 16), (32, 32), (64, 64))
    if faults := _faults(asked, d, spacing, channels):
        raise SettingsError("; ".join(faults))
    coarse = longest / (COARSE_SIDE[d] * finer)
    pool = asked.pool or tuple(max(1, round(coarse / s)) for s in spacing)
    downsample = asked.global_downsample or (False, True, True, False)
    stride = 2 * 2 ** sum(downsample)
    sizes = np.array([grid.extent for grid in facts.grids]) / (np.asarray(spacing) * pool)
    crop = asked.global_crop or tuple(
        min(round_up(math.ceil(n), stride), round_up(LARGEST_CROP[d] * finer, stride))
        for n in np.percentile(sizes, 75, axis=0)
    )
    if any(n % stride for n in crop):
        raise SettingsError(f"global_crop {crop} must be multiples of {stride}, the stride of the global network")
    window = asked.local_window or largest_window(d)
    budget = 0.4 * facts.memory_bytes
    one_crop = BYTES_PER_ACTIVATION * crop_values(
        crop,
        stem=asked.global_stem,
        blocks=asked.global_blocks,
        channels=asked.global_channels,
        downsample=downsample,
    )
    global_batch = asked.global_batch or _batch(BATCH[d], one_crop, budget, "global_crop or global_channels")
    one_landmark = window_values(channels, window) * BYTES_PER_ACTIVATION
    shared = asked.local_shared if asked.local_shared is not None else facts.landmarks >= MANY
    most = min(facts.landmarks, SHARED_PER_STEP) if shared else facts.landmarks
    chosen = asked.local_landmarks_per_step or int(min(most, max(1, budget // one_landmark)))
    local_batch = asked.local_batch or _batch(
        BATCH[d], chosen * one_landmark, budget, "local_window or local_landmarks_per_step"
    )
    steps = STEPS_ON_GPU if facts.on_gpu else STEPS
    cases = len(facts.grids)
    planned: dict[str, object] = {
        "landmarks": facts.landmarks,
        "spacing": spacing,
        "pool": pool,
        "global_downsample": downsample,
        "global_crop": crop,
        "global_batch": global_batch,
        "global_steps": stage_steps(
            asked, asked.global_steps, steps["global"], cases=cases, batch=global_batch, share=SHARE["global"]
        ),
        "global_class_weight": asked.global_class_weight or CLASS_WEIGHT * math.prod(n // stride for n in crop),
        "local_channels": channels,
        "local_shared": shared,
        "local_batch": local_batch,
        "local_landmarks_per_step": chosen,
        "local_steps": stage_steps(
            asked, asked.local_steps, steps["local"], cases=cases, batch=local_batch, share=SHARE["local"]
        ),
        **planned_augmentation(asked, has_pairs=facts.has_pairs, ndim=d, turn_degrees=facts.turn_degrees),
    }
    open_values = [n for n in ("local_window", "window_jitter", "local_class_weight") if getattr(asked, n) is None]
    largest: dict[str, object] = {
        "local_window": largest_window(d),
        "window_jitter": SMALLEST_WINDOW[d] * min(spacing) / 8,
        "local_class_weight": CLASS_WEIGHT * math.prod(n // 2 ** (len(channels) - 1) for n in window),
    }
    planned |= {name: largest[name] for name in open_values}
    return Plan(
        take(GlobalToLocalNetwork, asked, planned), take(GlobalToLocalTraining, asked, planned), tuple(open_values)
    )


def _faults(
    asked: GlobalToLocalSettings, ndim: int, spacing: Sequence[float], channels: Sequence[Sequence[int]]
) -> list[str]:
    """What of the settings does not go together, or not with images of `ndim` axes."""
    faults = [
        f"{name} has {len(value)} entries, the images have {ndim} axes"
        for name, value in (
            ("spacing", spacing),
            ("pool", asked.pool),
            ("global_crop", asked.global_crop),
            ("local_window", asked.local_window),
        )
        if value is not None and len(value) != ndim
    ]
    if len({len(asked.global_blocks), len(asked.global_channels), len(asked.global_downsample or (0,) * 4)}) != 1:
        faults.append("global_blocks, global_channels and global_downsample need one entry for each stage alike")
    if not channels or not all(channels):
        faults.append(f"local_channels {channels} needs a level, and at least one convolution in each")
    stride = 2 ** (len(channels) - 1)
    if asked.local_window and any(n % stride for n in asked.local_window):
        faults.append(f"local_window {asked.local_window} must be multiples of {stride}, the stride of local_channels")
    return faults


def size_local(plan: GlobalToLocalPlan, errors_world: Sequence[float]) -> GlobalToLocalPlan:
    """The plan with the local window and jitter sized from the global stage's validation errors (world units).

    The window holds the 98th percentile of the errors on each side and a margin of context, and spans about the same
    length along each axis; the jitter of training windows is the errors' root mean square along one axis. The class
    weight follows from the number of patches in the window.
    """
    network, training, ndim = plan.network, plan.training, plan.network.ndim
    spacing = np.asarray(network.spacing)
    errors = np.asarray(errors_world, dtype=float)
    errors = errors[np.isfinite(errors)]
    finest = float(spacing.min())
    smallest = SMALLEST_WINDOW[ndim]
    far = float(np.percentile(errors, 98)) if errors.size else smallest * finest / 4
    jitter = training.window_jitter
    if "window_jitter" in plan.undecided:
        common = errors[errors <= far]
        jitter = float(np.sqrt(np.mean(common**2) / ndim)) if common.size else smallest * finest / 8
        jitter = max(jitter, finest)
    window, stride = network.local_window, network.local_stride
    if "local_window" in plan.undecided:
        length = min(max(2 * far + smallest / 2 * finest, smallest * finest), LARGEST_WINDOW[ndim] * finest)
        window = tuple(max(2 * stride, round_up(length / s, 2 * stride)) for s in spacing)
    class_weight = training.local_class_weight
    if "local_class_weight" in plan.undecided:
        class_weight = CLASS_WEIGHT * math.prod(n // stride for n in window)
    sized = {"window_jitter": jitter, "local_class_weight": class_weight}
    return replace(
        plan,
        network=network.model_copy(update={"local_window": window}),
        training=training.model_copy(update=sized),
        undecided=(),
    )


def largest_window(ndim: int) -> tuple[int, ...]:
    return (LARGEST_WINDOW[ndim],) * ndim


def round_up(value: float, multiple: int) -> int:
    return multiple * math.ceil(value / multiple - 1e-9)


def _batch(most: int, bytes_each: float, budget: float, setting: str) -> int:
    if bytes_each > 2 * budget:
        raise SettingsError(
            f"one training example needs about {bytes_each / 2**30:.1f} GiB, {2 * budget / 2**30:.1f} GiB may be used; "
            f"set a smaller {setting}"
        )
    return int(max(1, min(most, budget // bytes_each)))
