"""Consensus: one point of several observers."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from anatomark.core.geometric_median import geometric_median
from anatomark.core.grid import Floats
from anatomark.errors import SettingsError

Consensus = Literal["mean", "geometric median"]


def checked_consensus(how: str) -> Consensus:
    """The kind of consensus by its name, also with a dash or an underscore."""
    name = how.replace("-", " ").replace("_", " ")
    if name not in get_args(Consensus):
        raise SettingsError(f"the consensus is {how!r}; choose mean or geometric-median")
    return name  # type: ignore[return-value]


def consensus_of(points: Floats, how: Consensus = "mean") -> Floats:
    """(C, N, d) the consensus of observers' points (C, P, N, d), NaN where no observer has one.

    The mean follows everybody; the geometric median, the point with the least sum of distances, is not moved by one
    observer who is far off (from three observers on; of two it is their mean).
    """
    if how == "geometric median":
        return geometric_median(np.moveaxis(points, 1, 0))
    known = np.isfinite(points).all(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(known, points, 0).sum(axis=1) / known.sum(axis=1)
