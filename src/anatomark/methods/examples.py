"""Training examples that every trained method draws: a warped crop of a case, and the landmarks in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatomark.core.landmarks import State
from anatomark.data.augment import Strength, change_grey_values, draw_warp, sample
from anatomark.data.cache import CachedCase
from anatomark.methods.interface import AugmentedSettings

Floats = NDArray[np.float64]
Example = tuple[Tensor, Tensor, Tensor]  # grey values, points in index units, states


def strength_of(settings: AugmentedSettings, *, elastic_mm: float = 0.0, ripple: float = 0.0) -> Strength:
    """The strength of `settings`, with the elastic displacements that a stage wants."""
    return Strength(
        rotation_degrees=settings.rotation_degrees,
        scale=settings.scale,
        shear=settings.shear,
        elastic_mm=elastic_mm,
        ripple=ripple,
        ripple_elements=settings.ripple_elements,
        gain=settings.gain,
        shift=settings.shift,
        gamma=settings.gamma,
        noise=settings.noise,
    )


def reference_of(case: CachedCase, mirror: bool, mirrored: NDArray[np.int64]) -> tuple[Floats, NDArray[np.uint8]]:
    """World points (N, d) and states (N,) of a case; of its mirror image, each name gets its partner's."""
    order = mirrored if mirror else slice(None)
    return case.points_world[order], case.states[order]


def window_centers(
    points_index: Floats,
    present: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    window: Sequence[int],
    image: Sequence[int],
    jitter: Floats,
    uniform: float = 0.0,
) -> Floats:
    """Middles (..., N, d) of training windows, in elements: near points (..., N, d) where they are `present` (..., N).

    They lie `jitter` (d,) elements off, and in a share `uniform` of the cases anywhere that holds the landmark. A
    landmark that is not present gets one anywhere in an `image` (d,), to learn what is not the landmark.
    """
    size, shape = np.asarray(window), points_index.shape
    near = np.clip(rng.standard_normal(shape) * jitter, -0.45 * size, 0.45 * size)
    anywhere = rng.uniform(-0.5, 0.5, size=shape) * (size - 1)
    offset = np.where(rng.random((*shape[:-1], 1)) < uniform, anywhere, near)
    elsewhere = rng.uniform(0, 1, size=shape) * (np.asarray(image) - 1)
    return np.where(present[..., None], points_index + offset, elsewhere)


def crop_example(
    case: CachedCase,
    settings: AugmentedSettings,
    mirrored: NDArray[np.int64],
    rng: np.random.Generator,
    device: torch.device,
    *,
    level: Literal["fine", "coarse"],
    crop: Sequence[int],
    margin: int = 0,
    near_landmarks: float = 0.0,
) -> Example:
    """One warped crop: grey values (1, *(crop + 2 * margin)), points (N, d) in index units of the crop, states (N,).

    Crops lie uniformly over the image; where the image is smaller than the crop, it lies uniformly in the crop. A share
    `near_landmarks` of the crops holds a random present landmark instead. The margin is what lies around.
    """
    grid, array = {
        "fine": (case.image.fine_grid, case.image.fine),
        "coarse": (case.image.coarse_grid, case.image.coarse),
    }[level]
    mirror = bool(settings.mirror) and rng.random() < 0.5
    points, states = reference_of(case, mirror, mirrored)
    points_index = grid.world_to_index(points)
    inner, size = np.asarray(crop), np.asarray(grid.shape)
    slack = np.abs(size - inner) / 2
    center = (size - 1) / 2 + rng.uniform(-1, 1, size=len(inner)) * slack
    known = np.flatnonzero((states == State.PRESENT) & np.isfinite(points_index).all(axis=1))
    if near_landmarks and known.size and rng.random() < near_landmarks:
        center = points_index[rng.choice(known)] + rng.uniform(-0.5, 0.5, size=len(inner)) * inner
    extent = float((inner * grid.spacing).max())
    strength = strength_of(settings, elastic_mm=settings.elastic * extent, ripple=settings.ripple or 0.0)
    warp = draw_warp(
        rng,
        shape=tuple(int(n) + 2 * margin for n in crop),
        spacing=grid.spacing,
        source_spacing=grid.spacing,
        center_index=center[None],
        strength=strength,
        mirror=mirror,
    )
    values = change_grey_values(sample(array, case.image.window, warp, device), rng, strength)
    points_window = warp.points_to_window(points_index[None])[0] - margin
    return values, torch.from_numpy(points_window).float(), torch.from_numpy(states)
