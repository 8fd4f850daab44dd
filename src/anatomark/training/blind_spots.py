"""What a model cannot tell from suitable images: tried on copies of validation cases, when a training ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats
from anatomark.data.cache import CachedCase
from anatomark.data.working import WorkingImage, average_pool
from anatomark.model import Member
from anatomark.training.own_world import own_grid, own_located, own_world

if TYPE_CHECKING:
    import torch

CASES = 6  # that are copied, at most
WRONG = 3.0  # times the usual error: from there on, a copy has to be told
TOLD = 0.8  # of the wrong copies, at least, for a model that tells them


def blind_spots(member: Member, cases: Sequence[CachedCase], errors: Floats, device: torch.device) -> tuple[str, ...]:
    """The kinds of copies of validation `cases` that are predicted wrongly, but look suitable.

    `errors` (V, N) are those in the cases as they are. Nothing is tried where nothing is judged, or it takes too long.
    """
    if member.suitability.usual is None or not member.detector.quick:
        return ()
    kinds: dict[str, Callable[[CachedCase], CachedCase]] = {
        "mirrored": lambda case: _flipped(case, -1),
        "upside down": lambda case: _flipped(case, 0),
        "turned by 180 degrees": lambda case: _flipped(_flipped(case, -1), -2),
        "inverted": _inverted,
    }
    limit = WRONG * float(np.nanmean(errors))
    whole = list(cases[:CASES])  # prepared once, not for each kind
    return tuple(name for name, copy in kinds.items() if _unseen(member, map(copy, whole), limit, device))


def _unseen(member: Member, copies: map[CachedCase], limit: float, device: torch.device) -> bool:
    """Whether too few of the `copies` with a mean error above `limit` are called unsuitable."""
    wrong = told = 0
    for copy in copies:
        located = own_located(copy, member.detector, device)
        apart = located[-1].points_world - own_world(copy, copy.points_world)
        if float(np.nanmean(np.linalg.norm(apart, axis=1))) > limit:
            wrong += 1
            told += member.answer_of(located, own_grid(copy), copy.image, copy.matrix).judgement.reason is not None
    return told < TOLD * wrong


def _flipped(case: CachedCase, axis: int) -> CachedCase:
    """A copy whose working image is mirrored along one of its array axes, with the landmarks where they are then."""
    image = case.image
    axis %= image.fine.ndim
    pool = [round(c / f) for c, f in zip(image.coarse_grid.spacing, image.fine_grid.spacing, strict=True)]
    fine = np.ascontiguousarray(np.flip(image.fine, axis))
    index = image.fine_grid.world_to_index(case.points_world)
    index[:, axis] = image.fine.shape[axis] - 1 - index[:, axis]
    coarse, grid = average_pool(fine, image.fine_grid, pool)
    copy = WorkingImage(fine, image.fine_grid, coarse, grid, image.window, image.grey_values)
    return replace(case, image=copy, points_world=image.fine_grid.index_to_world(index))


def _inverted(case: CachedCase) -> CachedCase:
    """A copy with black and white exchanged."""
    image = case.image
    low, high = image.fine.min(), image.fine.max()
    fine, coarse = (high - (level - low) for level in (image.fine, image.coarse))
    window = float(low) + float(high) - image.window[1], float(low) + float(high) - image.window[0]
    return replace(case, image=replace(image, fine=fine, coarse=coarse, window=window))
