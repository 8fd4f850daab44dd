"""A picture of what a stage finds in validation cases: in a median one, and in the worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from anatomark.core.grid import Floats
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.picture_sheets import legend_below, stacked, titled
from anatomark.pictures import overlay, worst_planes

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from anatomark.data.cache import Cache, CachedCase
    from anatomark.methods.interface import Networks, Staged

SIZE, PLANE = 640, 240  # pixels: the longer side of a 2D image, and each plane of a volume


def validation_picture(
    staged: Staged, stage: str, networks: Networks, cache: Cache, errors: Floats, device: torch.device
) -> Pillow.Image | None:
    """The answers of `stage` in two validation cases, chosen by `errors` (C, N) of all; None if all errors are NaN."""
    pictures = []
    for row in shown_cases(errors):
        case = cache.validation[row]
        points = staged.located(stage, networks, case.image, device).points_world
        pictures.append(case_picture(case, points, cache.names))
    return stacked(pictures) if pictures else None


def shown_cases(errors: Floats) -> list[int]:
    """The cases with a median and with the largest mean of `errors` (C, N); one that has no error is none of them."""
    known = [row for row in range(len(errors)) if np.isfinite(errors[row]).any()]
    order = sorted(known, key=lambda row: float(np.nanmean(errors[row])))
    return list(dict.fromkeys([order[(len(order) - 1) // 2], order[-1]])) if order else []


def case_picture(case: CachedCase, points_world: Floats, names: Sequence[str]) -> Pillow.Image:
    """The working image of `case` with its reference and the points (N, d) that were found.

    Of a volume, these are the planes through its worst landmarks.
    """
    grid = case.image.fine_grid
    image = Image(case.image.fine, grid)
    predicted = Landmarks.from_points(names, points_world, grid.unit)
    reference = Landmarks(tuple(names), case.points_world, case.states, grid.unit)
    errors = np.linalg.norm(points_world - case.points_world, axis=1)
    title = f"{case.id}: mean error {np.nanmean(errors):.2f} {grid.unit}"
    if grid.ndim == 2:
        return titled(overlay(image, predicted=predicted, reference=reference, size=SIZE), title)
    planes = worst_planes(image, worst=errors, predicted=predicted, reference=reference, size=PLANE)
    if planes is None:
        raise ValueError(f"no point that was found in {case.id} is finite")
    return titled(legend_below(planes, "predicted", "reference", radius=False), title)
