"""The windows of the local stage: which part of a case, how warped, and the landmarks inside them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.methods.examples import Example, maybe_cut, reference_of, strength_of, warped_windows, window_centers
from anatomark.methods.global_to_local.plan import GlobalToLocalPlan


def local_example(
    case: CachedCase,
    plan: GlobalToLocalPlan,
    mirrored: NDArray[np.int64],
    rng: np.random.Generator,
    device: torch.device,
    chosen: NDArray[np.int64],
) -> Example:
    """Warped windows of the fine level, one for each `chosen` (n,) landmark: (n, *window), points (n, d), states (n,).

    A window is centred near its landmark, as far off as the global stage errs, and now and then anywhere that holds
    the landmark. An absent landmark gets a window anywhere in the image, to learn what is not the landmark.
    """
    training, shape = plan.training, plan.network.local_window
    case = maybe_cut(case, training, rng)
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
    values, points_window = warped_windows(
        case.image.fine,
        case.image.window,
        grid.spacing,
        rng,
        device,
        shape=shape,
        center_index=center,
        points_index=points_index[:, None],
        strength=strength_of(training),
        mirror=mirror,
    )
    return values, torch.from_numpy(points_window[:, 0]).float(), torch.from_numpy(states)
