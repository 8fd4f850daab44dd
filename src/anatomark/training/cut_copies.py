"""What tells that a landmark lies outside of an image, learned from copies of validation cases that were cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice

import numpy as np
import torch

from anatomark.core.grid import Floats, Grid
from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.data.field_of_view import cut
from anatomark.methods.in_view import InView, depths_of, expected_places
from anatomark.methods.interface import AnyDetector
from anatomark.methods.suitability import Suitability
from anatomark.training.own_world import own_answer

COPIES = 60  # that are located, at most
MOST_OF_A_CASE = 6
DEPTHS = (-0.1, 0.7)  # of the cuts: deeper than a network learns from, for there places are guessed less well


def copies_of_each(cases: int) -> int:
    """How many copies are made of each of so many validation cases; where these are more than COPIES, of the first."""
    return int(np.clip(COPIES // max(1, cases), 1, MOST_OF_A_CASE))


def number_of_copies(cases: int) -> int:
    return min(cases * copies_of_each(cases), COPIES)


def learn_in_view(
    detector: AnyDetector, suitability: Suitability, cases: Iterable[CachedCase], number: int, device: torch.device
) -> InView | None:
    """Fit to `number` validation `cases` and to copies of them; None where it cannot be learned, or takes too long."""
    usual = suitability.usual
    if usual is None or not detector.quick:
        return None
    rows: list[tuple[Floats, Floats, Floats]] = []
    for case, whole in _with_copies(cases, copies_of_each(number)):
        inside = case.states[whole.states == State.PRESENT] == State.PRESENT
        points, _, masses = own_answer(case, detector, device)
        grid = _own_grid(case)
        depths = depths_of(usual, grid, expected_places(usual, grid, points, masses))
        known = whole.states == State.PRESENT
        rows.append((masses[known], depths[known], inside.astype(float)))
    if not rows:
        return None
    masses, depths, inside = (np.concatenate(column) for column in zip(*rows, strict=True))
    return InView.fitted(masses, depths, inside > 0)


def _with_copies(cases: Iterable[CachedCase], each: int) -> Iterator[tuple[CachedCase, CachedCase]]:
    """The first COPIES of `cases`, and `each` of them in so many smaller fields of view, beside the whole case."""
    rng, number = np.random.default_rng(0), count()
    for case in islice(cases, COPIES):
        yield case, case
        for _ in range(each):
            side = next(number) % (2 * len(case.image.coarse_grid.shape))
            yield cut(case, side, float(rng.uniform(*DEPTHS))), case


def _own_grid(case: CachedCase) -> Grid:
    """The grid of the image of a case in the world of this image, where the case was aligned to a template."""
    grid = case.image.fine_grid
    if case.matrix is None:
        return grid
    return Grid(grid.shape, np.linalg.inv(case.matrix) @ grid.affine, grid.unit)
