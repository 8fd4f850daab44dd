"""The reference: what several observers together say of one image, and what reviews changed in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import Landmarks, State


def mean_of_observers(observers: Sequence[Landmarks]) -> Landmarks:
    """The mean point of the observers who call a landmark present, world LPS.

    Observers who did not annotate a landmark have no say in it. Of the others the majority decides whether
    it is present or absent; a tie leaves it NOT_ANNOTATED, since nothing is known then. All must have the
    same names.
    """
    if len(observers) == 1:
        return observers[0]
    states = np.stack([o.states for o in observers])
    present = (states == State.PRESENT).sum(axis=0)
    absent = (states == State.ABSENT).sum(axis=0)
    points = np.nan_to_num(np.stack([o.points for o in observers])).sum(axis=0)
    points = np.where((present > absent)[:, None], points / np.maximum(present, 1)[:, None], np.nan)
    state = np.where(present > absent, State.PRESENT, np.where(absent > present, State.ABSENT, State.NOT_ANNOTATED))
    return Landmarks(observers[0].names, points, state, observers[0].unit)


def reference_of(observers: Mapping[str, Landmarks], rule: str, empty: Landmarks) -> Landmarks:
    """The landmarks by `rule`: "mean" of the observers, or the name of one; `empty` where there are none."""
    if rule != "mean":
        return observers.get(rule, empty)
    return mean_of_observers(list(observers.values())) if observers else empty


@dataclass(frozen=True, eq=False)
class Review:
    """What one person set in one case: `landmarks` where `given` (N,), each at the time `changed` (N,), as text."""

    reviewer: str
    landmarks: Landmarks
    given: NDArray[np.bool_]
    changed: NDArray[np.str_]


def reviewed(base: Landmarks, reviews: Sequence[Review]) -> Landmarks:
    """`base` with the newest review of each landmark in its place; of two at the same time the later file's."""
    points, states = base.points.copy(), base.states.copy()
    newest: NDArray[np.str_] = np.full(len(base), "", dtype="U40")
    for review in reviews:
        takes = review.given & (review.changed >= newest)
        points[takes], states[takes], newest[takes] = (
            review.landmarks.points[takes],
            review.landmarks.states[takes],
            review.changed[takes],
        )
    return Landmarks(base.names, points, states, base.unit)
