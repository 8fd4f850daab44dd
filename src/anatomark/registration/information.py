"""How much two images say of each other: normalised mutual information of their grey values."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from anatomark.core.grid import Floats

BINS = 32


def shared_information(first: ArrayLike, second: ArrayLike, limits: tuple[float, float] | None = None) -> float:
    """0 ... 1: 2 I / (H + H) of grey values (M,) at the same places, in `BINS` bins.

    The bins divide `limits`, or each image's own range. What chance alone would make of so few values is taken off
    (Miller 1955).
    """
    both = None if limits is None else (limits, limits)
    joint, _, _ = np.histogram2d(np.asarray(first), np.asarray(second), bins=BINS, range=both)
    rows, columns = joint.sum(axis=1), joint.sum(axis=0)
    apart = _entropy(rows) + _entropy(columns)
    chance = ((joint > 0).sum() - (rows > 0).sum() - (columns > 0).sum() + 1) / (2 * joint.sum())
    information = apart - _entropy(joint) - max(0.0, float(chance))
    return float(2 * max(0.0, information) / apart) if apart > 0 else 0.0


def _entropy(counts: Floats) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())
