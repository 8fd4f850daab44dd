"""Training examples that every trained method draws: a warped crop of a case, and the landmarks in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.augment import Strength, draw_grey_change, draw_warp, sample
from anatomark.data.cache import CachedCase
from anatomark.data.field_of_view import draw_cut
from anatomark.methods.settings import AugmentedTraining, CroppedTraining

Example = tuple[Tensor, Tensor, Tensor]  # grey values, points in index units, states
Generators = Sequence[np.random.Generator]


def generators(rng: np.random.Generator, first: int, count: int) -> Generators:
    """One of each example of a step whose generator is `rng`: `count` of them, from the place `first` of its batch on.

    An example is the same whoever draws it, whether the batch is of one process or shared by several.
    """
    return rng.spawn(first + count)[first:]


def stacked(examples: Iterable[Example]) -> Example:
    """One batch of all: grey values (B, ...) on their device, points (B, N, d) and states (B, N) on the CPU."""
    values, points, states = zip(*examples, strict=True)
    return torch.stack(values), torch.stack(points), torch.stack(states)


def crops(
    cases: Sequence[CachedCase],
    training: CroppedTraining,
    mirrored: NDArray[np.int64],
    rngs: Generators,
    device: torch.device,
    crop: Sequence[int],
) -> Example:
    """One batch of warped crops of the fine level, one a case; see `crop_example`."""
    fraction = training.landmark_crop_fraction
    return stacked(
        crop_example(c, training, mirrored, rng, device, level="fine", crop=crop, landmark_crop_fraction=fraction)
        for c, rng in zip(cases, rngs, strict=True)
    )


def strength_of(training: AugmentedTraining, *, elastic_mm: float = 0.0, elastic_fine: float = 0.0) -> Strength:
    """The strength of the augmentation of `training`, with the elastic displacements that a stage uses."""
    return Strength(
        rotation_degrees=training.rotation_degrees,
        scale=training.scale,
        shear=training.shear,
        elastic_mm=elastic_mm,
        elastic_fine=elastic_fine,
        gain=training.gain,
        shift=training.shift,
        gamma=training.gamma,
        noise=training.noise,
    )


def maybe_cut(case: CachedCase, training: AugmentedTraining, rng: np.random.Generator) -> CachedCase:
    """`case`, or with the probability that `training` gives a copy with a smaller field of view."""
    return draw_cut(case, rng) if training.cut_fraction and rng.random() < training.cut_fraction else case


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


def warped_windows(
    array: NDArray[np.generic],
    window: tuple[float, float],
    spacing: Sequence[float],
    rng: np.random.Generator,
    device: torch.device,
    *,
    shape: Sequence[int],
    center_index: Floats,
    points_index: Floats,
    strength: Strength,
    mirror: bool,
) -> tuple[Tensor, Floats]:
    """Windows (K, *shape) of `array`, warped and changed in grey at random, and where points (K, M, d) lie in them.

    `window` and `spacing` are those of the array; `center_index` (K, d) and points are in its elements.
    """
    warp = draw_warp(
        rng,
        shape=shape,
        spacing=spacing,
        source_spacing=spacing,
        center_index=center_index,
        strength=strength,
        mirror=mirror,
    )
    values = draw_grey_change(rng, strength).apply(sample(array, window, warp, device))
    return values, warp.points_to_window(points_index)


def crop_example(
    case: CachedCase,
    training: AugmentedTraining,
    mirrored: NDArray[np.int64],
    rng: np.random.Generator,
    device: torch.device,
    *,
    level: Literal["fine", "coarse"],
    crop: Sequence[int],
    margin: int = 0,
    landmark_crop_fraction: float = 0.0,
) -> Example:
    """One warped crop: grey values (1, *(crop + 2 * margin)), points (N, d) in index units of the crop, states (N,).

    Crops lie uniformly over the image; where the image is smaller than the crop, it lies uniformly in the crop. A part
    `landmark_crop_fraction` of the crops holds a random present landmark instead. The margin is what lies around.
    """
    case = maybe_cut(case, training, rng)
    grid, array = {
        "fine": (case.image.fine_grid, case.image.fine),
        "coarse": (case.image.coarse_grid, case.image.coarse),
    }[level]
    mirror = training.mirror and rng.random() < 0.5
    points, states = reference_of(case, mirror, mirrored)
    points_index = grid.world_to_index(points)
    inner, size = np.asarray(crop), np.asarray(grid.shape)
    slack = np.abs(size - inner) / 2
    center = (size - 1) / 2 + rng.uniform(-1, 1, size=len(inner)) * slack
    known = np.flatnonzero((states == State.PRESENT) & np.isfinite(points_index).all(axis=1))
    if landmark_crop_fraction and known.size and rng.random() < landmark_crop_fraction:
        center = points_index[rng.choice(known)] + rng.uniform(-0.5, 0.5, size=len(inner)) * inner
    extent = float((inner * grid.spacing).max())
    strength = strength_of(training, elastic_mm=training.elastic * extent, elastic_fine=training.elastic_fine)
    values, points_window = warped_windows(
        array,
        case.image.window,
        grid.spacing,
        rng,
        device,
        shape=tuple(int(n) + 2 * margin for n in crop),
        center_index=center[None],
        points_index=points_index[None],
        strength=strength,
        mirror=mirror,
    )
    return values, torch.from_numpy(points_window[0] - margin).float(), torch.from_numpy(states)
