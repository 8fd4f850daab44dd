"""Consensus: one point of several observers."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError

Consensus = Literal["mean", "geometric median"]
_ROUNDS = 200


def checked_consensus(how: str) -> Consensus:
    """The way by its name, also with a dash or an underscore."""
    name = how.replace("-", " ").replace("_", " ")
    if name not in get_args(Consensus):
        raise SettingsError(f"the consensus is {how!r}; wanted mean or geometric-median")
    return name  # type: ignore[return-value]


def consensus_of(points: Floats, how: Consensus = "mean") -> Floats:
    """(C, N, d) the consensus of observers' points (C, P, N, d), NaN where nobody has one.

    The mean follows everybody; the geometric median, the point with the least sum of distances, is not moved by one
    observer who is far off (from three observers on; of two it is their mean).
    """
    here = np.isfinite(points).all(axis=-1, keepdims=True)
    held = np.where(here, points, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = held.sum(axis=1) / here.sum(axis=1)
    if how == "mean":
        return middle
    scale = np.sqrt(np.nanmax(((points - middle[:, None]) ** 2).sum(axis=-1), initial=0)) or 1.0
    for _ in range(_ROUNDS):  # Weiszfeld, smoothed so that it may stand on a point; Vardi and Zhang 2000
        distance = np.sqrt(((held - middle[:, None]) ** 2).sum(axis=-1, keepdims=True) + (1e-6 * scale) ** 2)
        weight = np.where(here, 1 / distance, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            moved = (held * weight).sum(axis=1) / weight.sum(axis=1)
        still = np.nanmax(np.abs(moved - middle), initial=0) <= 1e-9 * scale
        middle = moved
        if still:
            break
    return middle
