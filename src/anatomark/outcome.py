"""What came of one image, and the rows of many in predictions.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import State
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.methods.prediction import Prediction, prediction_table, remarks_on


@dataclass(frozen=True)
class Points:
    """What the points of all images have in common: the names of the landmarks, and the unit."""

    names: tuple[str, ...]
    ndim: int
    unit: Unit


@dataclass(frozen=True)
class Outcome:
    """A row about the image `id`: what was predicted, or the reason in `error`, and then nothing else.

    `points` are the coordinates of one landmark after the other, LPS; `presence`, `spread` and `bound` have a number
    for each. All are rounded as in predictions.csv. `suitability` is NaN where the model cannot judge.
    """

    id: str
    error: str = ""
    points: tuple[float, ...] | None = None
    presence: tuple[float, ...] | None = None
    spread: tuple[float, ...] | None = None
    bound: tuple[float, ...] | None = None
    suitability: float = math.nan
    unsuitable: str = ""
    taken_for: str = ""
    warning: str = ""

    @classmethod
    def predicted(cls, id: str, prediction: Prediction) -> Outcome:
        table = prediction_table({id: prediction})
        assert table.bound is not None
        return cls(
            id,
            points=tuple(table.coordinates.ravel().tolist()),
            presence=tuple(table.presence.tolist()),
            spread=tuple(table.spread.tolist()),
            bound=tuple(table.bound.tolist()),
            suitability=float(prediction.suitability),
            unsuitable=prediction.unsuitable or "",
            taken_for=prediction.taken_for or "",
            warning=prediction.warning or "",
        )

    @classmethod
    def failed(cls, id: str, reason: str) -> Outcome:
        return cls(id, error=" ".join(reason.split()) or "no reason given")

    @property
    def remarks(self) -> str | None:
        """As `Prediction.remarks`."""
        return remarks_on(warning=self.warning, taken_for=self.taken_for, unsuitable=self.unsuitable)


def landmark_table(outcomes: Sequence[Outcome], points: Points) -> LandmarkTable:
    """The rows of predictions.csv for the predicted ones of `outcomes`."""
    predicted = [outcome for outcome in outcomes if not outcome.error]
    rows = len(predicted) * len(points.names)

    def numbers(name: str, *shape: int) -> Floats:
        return np.array([getattr(outcome, name) for outcome in predicted], dtype=float).reshape(rows, *shape)

    return LandmarkTable(
        image=np.repeat(np.array([outcome.id for outcome in predicted], dtype=str), len(points.names)),
        landmark=np.tile(np.array(points.names, dtype=str), len(predicted)),
        coordinates=numbers("points", points.ndim),
        states=np.full(rows, State.PRESENT, dtype=np.uint8),
        observer=np.full(rows, "", dtype=str),
        frame="LPS",
        unit=points.unit,
        presence=numbers("presence"),
        spread=numbers("spread"),
        bound=numbers("bound"),
    )
