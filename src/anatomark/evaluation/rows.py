"""Rows: one per case and landmark. Every number and picture of an evaluation is derived from them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.formats.table import STATE_WORDS


class Answer(IntEnum):
    """What a prediction says of a landmark: nothing at all, that it is absent, or where it is."""

    MISSING = 0
    ABSENT = 1
    PRESENT = 2


ANSWER_WORDS = {Answer.MISSING: "missing", Answer.ABSENT: "absent", Answer.PRESENT: "present"}


@dataclass(frozen=True, eq=False)
class Rows:
    """C cases times N landmarks; row (i, k) is landmark `names[k]` in case `cases[i]`.

    `reference` and `predicted` (C, N, d) are world LPS in `unit`, NaN where there is no point. `states` (C,
    N) of `State` belong to the reference, `answers` (C, N) of `Answer` to the prediction. `presence` (C, N)
    is the predicted probability, NaN where none is given. A point whose presence is below the threshold keeps
    its coordinates and error here, with the answer ABSENT.
    """

    cases: tuple[str, ...]
    names: tuple[str, ...]
    reference: Floats
    states: NDArray[np.uint8]
    predicted: Floats
    answers: NDArray[np.uint8]
    presence: Floats
    unit: Unit = "mm"

    def __post_init__(self) -> None:
        block = (len(self.cases), len(self.names))
        for field in ("reference", "states", "predicted", "answers", "presence"):
            array = getattr(self, field)
            if array.shape[:2] != block:
                raise ValueError(f"{field} must be {block[0]} cases x {block[1]} landmarks, got {array.shape}")

    @cached_property
    def error(self) -> Floats:
        """(C, N, d) predicted minus reference, in `unit`; NaN unless both have a point."""
        return self.predicted - self.reference

    @cached_property
    def radial(self) -> Floats:
        """(C, N) radial errors in `unit`; NaN unless both have a point."""
        return np.sqrt((self.error**2).sum(axis=-1))

    @cached_property
    def counted(self) -> NDArray[np.bool_]:
        """(C, N) true where the reference is present: the rows that accuracy is about."""
        return self.states == State.PRESENT

    @cached_property
    def found(self) -> NDArray[np.bool_]:
        """(C, N) true where a present reference landmark got a point; counted and not found is a miss."""
        return self.counted & (self.answers == Answer.PRESENT)

    @cached_property
    def scored(self) -> Floats:
        """(C, N) radial errors where found, infinite where missed, NaN where nothing is counted."""
        return np.where(self.found, self.radial, np.where(self.counted, np.inf, np.nan))


def reference_block(references: Sequence[Landmarks], names: Sequence[str]) -> tuple[Floats, NDArray[np.uint8]]:
    """Points (C, N, d) and states (C, N) of `names`; a name that a case lacks is not annotated."""
    chosen = [r if r.names == tuple(names) else r.select(names) for r in references]
    return np.stack([c.points for c in chosen]), np.stack([c.states for c in chosen])


def rows_csv(rows: Rows) -> str:
    """All rows as CSV text: case, landmark, reference, predicted, error vector, radial error, presence.

    Lengths are in the unit that the column `unit` names; empty where there is no value.
    """
    c, n = rows.states.shape
    axes = "xyz"[: rows.reference.shape[-1]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("case", "landmark", "reference", "predicted"),
            *(f"error_{a}" for a in axes),
            *("radial_error", "presence", "unit"),
        ]
    )
    states = np.array([STATE_WORDS[s] for s in State])[rows.states].ravel()
    answers = np.array([ANSWER_WORDS[a] for a in Answer])[rows.answers].ravel()
    numbers = np.concatenate([rows.error, rows.radial[..., None]], axis=-1).reshape(c * n, -1)
    columns = [[_number(v, 4) for v in column] for column in numbers.T.tolist()]
    presence = [_number(v, 4) for v in rows.presence.ravel().tolist()]
    cases = np.repeat(np.array(rows.cases, dtype=object), n)
    names = np.tile(np.array(rows.names, dtype=object), c)
    units = [rows.unit] * (c * n)
    writer.writerows(zip(cases, names, states, answers, *columns, presence, units, strict=True))
    return text.getvalue()


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else ""
