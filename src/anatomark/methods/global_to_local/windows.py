"""The windows of the local stage: which part of a case, how warped, and the landmarks inside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.augment import Warp, draw_grey_change, draw_warp, sample
from anatomark.data.cache import CachedCase
from anatomark.methods.examples import Example, reference_of, strength_of, window_centers
from anatomark.methods.global_to_local.plan import GlobalToLocalPlan


def local_example(
    case: CachedCase,
    plan: GlobalToLocalPlan,
    mirrored: NDArray[np.int64],
    rng: np.random.Generator,
    device: torch.device,
    chosen: slice,
) -> Example:
    """Warped windows of the fine level, one a landmark: (n, *window), points (n, d), states (n,).

    A window is centred near its landmark, as far off as the global stage errs, and now and then anywhere that holds
    the landmark. An absent landmark gets a window anywhere in the image, to learn what is not the landmark.
    """
    training, shape = plan.training, plan.network.local_window
    grid = case.image.fine_grid
    mirror = training.mirror and rng.random() < 0.5
    points, states = reference_of(case, mirror, mirrored)
    points_index, states = grid.world_to_index(points[chosen]), states[chosen]
    center = window_centers(
        points_index,
        states == State.PRESENT,
        rng,
        window=shape,
        image=grid.shape,
        jitter=training.window_jitter / np.asarray(grid.spacing),
        uniform=training.uniform_window_fraction,
    )
    strength = strength_of(training)
    warp = draw_warp(
        rng,
        shape=shape,
        spacing=grid.spacing,
        source_spacing=grid.spacing,
        center_index=center,
        strength=strength,
        mirror=mirror,
    )
    values = draw_grey_change(rng, strength).apply(sample(case.image.fine, case.image.window, warp, device))
    points_window = warp.points_to_window(points_index[:, None])[:, 0]
    return values, torch.from_numpy(points_window).float(), torch.from_numpy(states)


def plain_windows(
    array: NDArray[np.generic],
    window: tuple[float, float],
    spacing: Sequence[float],
    shape: Sequence[int],
    center_index: Floats,
    device: torch.device,
) -> tuple[Tensor, Floats]:
    """Unwarped windows (K, *shape) around `center_index` (K, d), and the source index (K, d) of their first elements.

    Window elements coincide with source elements, so nothing is interpolated; outside the image there is 0.
    """
    size = np.asarray(shape)
    last = np.maximum(np.asarray(array.shape) - 1, 0)
    start = np.floor(np.clip(center_index, 0, last) - (size - 1) / 2 + 0.5)
    k, d = start.shape
    warp = Warp(
        tuple(shape),
        np.asarray(spacing, dtype=float),
        np.asarray(spacing, dtype=float),
        start + (size - 1) / 2,
        np.tile(np.eye(d), (k, 1, 1)),
        None,
    )
    return sample(array, window, warp, device), start
