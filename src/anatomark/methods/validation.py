"""How far a stage's answers lie from the reference of cases that are kept to choose by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from anatomark.data.cache import CachedCase
    from anatomark.methods.interface import Method

Floats = NDArray[np.float64]


def radial_errors(
    method: Method, cases: Sequence[CachedCase], device: torch.device, *, upto: str | None = None
) -> Floats:
    """(C, N) radial errors (world units) of the last answer up to stage `upto`; NaN unless a landmark is present."""
    errors = np.full((len(cases), len(cases[0].states) if cases else 0), np.nan)
    for row, case in enumerate(cases):
        located = method.locate(case.image, device, upto=upto)[-1]
        errors[row] = np.linalg.norm(located.points_world - case.points_world, axis=1)
    return errors


def mean_error(errors: Floats) -> float:
    """The mean of those that are known; NaN if none is."""
    return float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")
