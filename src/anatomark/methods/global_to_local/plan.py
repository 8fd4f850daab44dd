"""The plan: settings that the data decide, filled in from image sizes, spacings, landmarks and device memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from anatomark.errors import SettingsError
from anatomark.methods.global_to_local.settings import GlobalToLocalSettings
from anatomark.methods.interface import DataFacts
from anatomark.methods.vote_loss import CLASS_WEIGHT
from anatomark.nets.grouped import window_values

# Elements along the longest side of an image: a working resolution that one pass and one window can look over.
FINE_SIDE = {2: 512, 3: 160}
COARSE_SIDE = {2: 256, 3: 80}
LARGEST_CROP = {2: 320, 3: 112}
BYTES_PER_ACTIVATION = 8  # bf16 or fp32 values kept for the backward pass, with the normalisation's copies


def plan(settings: GlobalToLocalSettings, facts: DataFacts, *, on_gpu: bool) -> GlobalToLocalSettings:
    """The settings with everything filled in but window, jitter and class weight of the local stage: see `plan_local`.

    Raises SettingsError where a setting does not fit the data, naming all faults at once.
    """
    d = facts.grids[0].ndim
    finer = 2 if on_gpu else 1
    native = np.median([grid.spacing for grid in facts.grids], axis=0)
    extent = np.median([grid.extent for grid in facts.grids], axis=0)
    longest = float(extent.max())
    spacing = settings.spacing or tuple(np.maximum(native, longest / (FINE_SIDE[d] * finer)).tolist())
    faults = [
        f"{name} has {len(value)} entries, the images have {d} axes"
        for name, value in (
            ("spacing", spacing),
            ("pool", settings.pool),
            ("global_crop", settings.global_crop),
            ("local_window", settings.local_window),
        )
        if value is not None and len(value) != d
    ]
    stages = {
        len(settings.global_blocks),
        len(settings.global_channels),
        len(settings.global_downsample or (0,) * 4),
    }
    if len(stages) != 1:
        faults.append("global_blocks, global_channels and global_downsample need one entry for each stage alike")
    channels = settings.local_channels
    if channels is None:
        channels = ((32, 32), (48, 48), (64, 64, 64)) if d == 2 else ((16, 16), (32, 32), (64, 64))
    if not channels or not all(channels):
        faults.append(f"local_channels {channels} needs a level, and at least one convolution in each")
    local_stride = 2 ** (len(channels) - 1)
    if settings.local_window and any(n % local_stride for n in settings.local_window):
        faults.append(
            f"local_window {settings.local_window} must be multiples of {local_stride}, the stride of local_channels"
        )
    if faults:
        raise SettingsError("; ".join(faults))
    coarse = longest / (COARSE_SIDE[d] * finer)
    pool = settings.pool or tuple(max(1, round(coarse / s)) for s in spacing)
    downsample = settings.global_downsample or (False, True, True, False)
    stride = 2 * 2 ** sum(downsample)
    sizes = np.array([grid.extent for grid in facts.grids]) / (np.asarray(spacing) * pool)
    crop = settings.global_crop or tuple(
        min(round_up(math.ceil(n), stride), round_up(LARGEST_CROP[d] * finer, stride))
        for n in np.percentile(sizes, 75, axis=0)
    )
    if any(n % stride for n in crop):
        raise SettingsError(f"global_crop {crop} must be multiples of {stride}, the stride of the global network")
    patches = math.prod(n // stride for n in crop)
    window = settings.local_window or largest_window(d)
    budget = 0.4 * facts.memory_bytes
    global_batch = settings.global_batch or _batch(
        4 if d == 2 else 2, global_bytes(settings, crop), budget, "global_crop or global_channels"
    )
    one_landmark = window_values(channels, window) * BYTES_PER_ACTIVATION
    chosen = settings.local_landmarks_per_step or int(min(facts.landmarks, max(1, budget // one_landmark)))
    local_batch = settings.local_batch or _batch(
        4 if d == 2 else 2, chosen * one_landmark, budget, "local_window or local_landmarks_per_step"
    )
    return settings.model_copy(
        update={
            "spacing": spacing,
            "pool": pool,
            "global_downsample": downsample,
            "global_crop": crop,
            "global_batch": global_batch,
            "global_steps": settings.global_steps or (10_000 if on_gpu else 1_500),
            "global_class_weight": settings.global_class_weight or CLASS_WEIGHT * patches,
            "local_channels": channels,
            "local_batch": local_batch,
            "local_landmarks_per_step": chosen,
            "local_steps": settings.local_steps or (20_000 if on_gpu else 3_000),
            "mirror": facts.has_pairs if settings.mirror is None else settings.mirror,
        }
    )


def plan_local(settings: GlobalToLocalSettings, errors_world: Sequence[float], *, ndim: int) -> GlobalToLocalSettings:
    """The settings with the local window and jitter sized from the global stage's validation errors (world units).

    The window holds the 98th percentile of the errors on each side and a margin of context, and spans about the same
    length along each axis; the jitter of training windows is the errors' root mean square along one axis. The class
    weight follows from the number of patches in the window.
    """
    assert settings.spacing is not None
    assert settings.local_channels is not None
    spacing = np.asarray(settings.spacing)
    errors = np.asarray(errors_world, dtype=float)
    errors = errors[np.isfinite(errors)]
    finest = float(spacing.min())
    smallest = 64 if ndim == 2 else 24
    far = float(np.percentile(errors, 98)) if errors.size else smallest * finest / 4
    jitter = settings.local_jitter
    if jitter is None:
        common = errors[errors <= far]
        jitter = float(np.sqrt(np.mean(common**2) / ndim)) if common.size else smallest * finest / 8
        jitter = max(jitter, finest)
    window = settings.local_window
    stride = 2 ** (len(settings.local_channels) - 1)
    if window is None:
        length = min(max(2 * far + smallest / 2 * finest, smallest * finest), max(largest_window(ndim)) * finest)
        window = tuple(max(2 * stride, round_up(length / s, 2 * stride)) for s in spacing)
    class_weight = settings.local_class_weight or CLASS_WEIGHT * math.prod(n // stride for n in window)
    return settings.model_copy(
        update={"local_window": window, "local_jitter": jitter, "local_class_weight": class_weight}
    )


def largest_window(ndim: int) -> tuple[int, ...]:
    return (96, 96) if ndim == 2 else (40, 40, 40)


def round_up(value: float, multiple: int) -> int:
    return multiple * math.ceil(value / multiple - 1e-9)


def global_bytes(settings: GlobalToLocalSettings, crop: Sequence[int]) -> float:
    """Rough memory (bytes) that training of the global network takes for one crop."""
    elements = math.prod(crop) / 2 ** len(crop)
    total = elements * settings.global_stem * 3
    for blocks, channels, down in zip(
        settings.global_blocks,
        settings.global_channels,
        settings.global_downsample or (False, True, True, False),
        strict=True,
    ):
        elements /= 2 ** len(crop) if down else 1
        total += elements * channels * blocks * 6
    return total * BYTES_PER_ACTIVATION


def _batch(wanted: int, bytes_each: float, budget: float, setting: str) -> int:
    if bytes_each > 2 * budget:
        raise SettingsError(
            f"one training example needs about {bytes_each / 2**30:.1f} GiB, {2 * budget / 2**30:.1f} GiB may be used; "
            f"set a smaller {setting}"
        )
    return int(max(1, min(wanted, budget // bytes_each)))
