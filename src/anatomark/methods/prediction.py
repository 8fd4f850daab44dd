"""What every method returns for an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import Landmarks, State
from anatomark.methods.error_bound import COVERAGE

if TYPE_CHECKING:
    from anatomark.formats.table import LandmarkTable

Floats = NDArray[np.float64]
SAID_ABSENT_BELOW = 0.5  # a presence below says that the landmark is not in the image


@dataclass(frozen=True, eq=False)
class Prediction:
    """A located point for every landmark, how likely it is in the image, how far its votes lie apart, and its bound.

    `landmarks` has coordinates for all N (state PRESENT), whatever the presence says; `presence` (N,) is a probability;
    `spread` (N,) is the root mean square distance of the votes, in the landmarks' unit. `error_bound` (N,) in the same
    unit is what the error stays below with probability `coverage` if the landmark is there (`methods.error_bound` says
    what that rests on); NaN where it is withheld, for which the model's `bounds` have the reason. `warning` is what a
    person should know of the image, such as that it could not be aligned.
    """

    landmarks: Landmarks
    presence: Floats
    spread: Floats
    warning: str | None = None
    error_bound: Floats = field(default_factory=lambda: np.empty(0))
    coverage: float = COVERAGE

    def __post_init__(self) -> None:
        if not len(self.error_bound):
            object.__setattr__(self, "error_bound", np.full(len(self.landmarks), np.nan))


def prediction_table(results: Mapping[str, Prediction]) -> LandmarkTable:
    """The rows of predictions.csv: every landmark of every image, LPS, coordinates to 0.1 um."""
    from anatomark.formats.table import LandmarkTable

    first = next(iter(results.values())).landmarks
    count = len(results) * len(first)
    return LandmarkTable(
        image=np.repeat(np.array(list(results), dtype=str), len(first)),
        landmark=np.tile(np.array(first.names, dtype=str), len(results)),
        coordinates=np.round(np.concatenate([r.landmarks.points for r in results.values()]), 4),
        states=np.full(count, State.PRESENT, dtype=np.uint8),
        observer=np.full(count, "", dtype=str),
        frame="LPS",
        unit=first.unit,
        presence=np.round(np.concatenate([r.presence for r in results.values()]), 4),
        spread=np.round(np.concatenate([r.spread for r in results.values()]), 4),
        bound=np.round(np.concatenate([r.error_bound for r in results.values()]), 4),
    )
