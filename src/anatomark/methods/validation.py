"""How far answers lie from the reference of validation cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats

if TYPE_CHECKING:
    from anatomark.data.cache import CachedCase


def errors_of(points_world: Sequence[Floats], cases: Sequence[CachedCase]) -> Floats:
    """(C, N) radial errors (world units) of the points (N, d) that were found in each of C cases.

    NaN unless a landmark is present.
    """
    errors = np.full((len(cases), len(cases[0].states) if cases else 0), np.nan)
    for row, (points, case) in enumerate(zip(points_world, cases, strict=True)):
        errors[row] = np.linalg.norm(points - case.points_world, axis=1)
    return errors


def mean_error(errors: Floats) -> float:
    """The mean of those that are known; NaN if none is."""
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")
