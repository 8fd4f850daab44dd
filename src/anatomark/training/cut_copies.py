"""What tells that a landmark lies outside of an image, learned from copies of validation cases that were cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, islice

import numpy as np
import torch
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.data.cache import CachedCase
from anatomark.data.field_of_view import cut
from anatomark.methods.in_view import InView, depths_of, expected_places
from anatomark.methods.interface import AnyDetector, masses_of
from anatomark.methods.suitability import Suitability, Usual
from anatomark.training.own_world import own_grid, own_located

COPIES = 60  # that are located, at most
MOST_OF_A_CASE = 6
DEPTHS = (-0.1, 0.7)  # of the cuts: deeper than a network learns from, for there places are guessed less well


def copies_of_each(cases: int) -> int:
    """How many copies are made of each of so many validation cases; where these are more than COPIES, of the first."""
    return int(np.clip(COPIES // max(1, cases), 1, MOST_OF_A_CASE))


def number_of_copies(cases: int) -> int:
    return min(cases * copies_of_each(cases), COPIES)


def learn_in_view(
    detector: AnyDetector,
    suitability: Suitability,
    cases: Iterable[CachedCase],
    points: Floats,
    masses: Floats,
    device: torch.device,
) -> InView | None:
    """Fit to V validation `cases`, in which `points` (V, N, d) were found with `masses` (V, N, stages), and to copies.

    None where it cannot be learned, or takes too long.
    """
    usual = suitability.usual
    if usual is None or not detector.quick:
        return None
    rng, number, each = np.random.default_rng(0), count(), copies_of_each(len(points))
    rows: list[tuple[Floats, Floats, NDArray[np.bool_]]] = []
    for whole, *answer in islice(zip(cases, points, masses, strict=True), COPIES):
        present = whole.states == State.PRESENT
        rows.append(_row(usual, whole, present, *answer))
        for _ in range(each):
            copy = cut(whole, next(number) % (2 * points.shape[2]), float(rng.uniform(*DEPTHS)))
            located = own_located(copy, detector, device)
            rows.append(_row(usual, copy, present, located[-1].points_world, masses_of(located)))
    mass, depths, inside = (np.concatenate(column) for column in zip(*rows, strict=True))
    return InView.fitted(mass, depths, inside)


def _row(
    usual: Usual, case: CachedCase, known: NDArray[np.bool_], points: Floats, mass: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Masses (M, stages), depths (M,) and whether they lie in the image (M,), of the `known` (N,) landmarks."""
    grid = own_grid(case)
    depths = depths_of(usual, grid, expected_places(usual, grid, points, mass))
    return mass[known], depths[known], case.states[known] == State.PRESENT
