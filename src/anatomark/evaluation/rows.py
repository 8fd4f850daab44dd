"""Rows: one per case and landmark. Every number and picture of an evaluation is derived from them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Unit
from anatomark.core.landmarks import Landmarks, State
from anatomark.evaluation.placements import Placements
from anatomark.formats.table import STATE_WORDS


class Answer(IntEnum):
    """The prediction for a landmark: none, that it is absent, or where it is."""

    MISSING = 0
    ABSENT = 1
    PRESENT = 2


PER_LANDMARK = ("reference", "states", "predicted", "answers", "presence", "spread", "bound", "withheld")
"""The arrays of `Rows`, each with an entry for every case and landmark."""
ANSWER_WORDS = {Answer.MISSING: "missing", Answer.ABSENT: "absent", Answer.PRESENT: "present"}


@dataclass(frozen=True, eq=False)
class Rows:
    """C cases times N landmarks; row (i, k) is landmark `names[k]` in case `cases[i]`.

    `reference` and `predicted` (C, N, d) are world LPS in `unit`, NaN where there is no point. `states` (C,
    N) of `State` belong to the reference, `answers` (C, N) of `Answer` to the prediction. `presence` (C, N)
    is the predicted probability, NaN where none is given. A point whose presence is below the threshold keeps
    its coordinates and error here, with the answer ABSENT.

    `subjects` (C,) says which cases are of one person; without it each case is its own. `spread` (C, N) of the votes
    and `bound` (C, N), which the error should stay below, are lengths in `unit`, NaN where none is given. `withheld`
    (C, N) is true where the predictions withhold a bound, as in an image that the model is not suitable for.
    """

    cases: tuple[str, ...]
    names: tuple[str, ...]
    reference: Floats
    states: NDArray[np.uint8]
    predicted: Floats
    answers: NDArray[np.uint8]
    presence: Floats
    unit: Unit = "mm"
    subjects: tuple[str, ...] = ()
    spread: Floats = field(default_factory=lambda: np.empty(0))
    bound: Floats = field(default_factory=lambda: np.empty(0))
    withheld: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))

    def __post_init__(self) -> None:
        block = (len(self.cases), len(self.names))
        object.__setattr__(self, "subjects", tuple(self.subjects) or self.cases)
        for name in ("spread", "bound"):
            if not getattr(self, name).size:
                object.__setattr__(self, name, np.full(block, np.nan))
        if not self.withheld.size:
            object.__setattr__(self, "withheld", np.zeros(block, dtype=bool))
        for name in PER_LANDMARK:
            array = getattr(self, name)
            if array.shape[:2] != block:
                raise ValueError(f"{name} must be {block[0]} cases x {block[1]} landmarks, got {array.shape}")
        if len(self.subjects) != len(self.cases):
            raise ValueError(f"{len(self.cases)} cases need as many subjects, got {len(self.subjects)}")

    def of_cases(self, cases: Sequence[str]) -> Rows:
        """The rows of these cases, in this order."""
        number = {case: i for i, case in enumerate(self.cases)}
        chosen = [number[case] for case in cases]
        subjects = tuple(self.subjects[i] for i in chosen)
        arrays = {name: getattr(self, name)[chosen] for name in PER_LANDMARK}
        return replace(self, cases=tuple(cases), subjects=subjects, **arrays)

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
        """(C, N) true where a present reference landmark has a predicted point; counted and not found is a miss."""
        return self.counted & (self.answers == Answer.PRESENT)

    @cached_property
    def scored(self) -> Floats:
        """(C, N) radial errors where found, infinite where missed, NaN where nothing is counted."""
        return np.where(self.found, self.radial, np.where(self.counted, np.inf, np.nan))


def reference_block(references: Sequence[Landmarks], names: Sequence[str]) -> tuple[Floats, NDArray[np.uint8]]:
    """Points (C, N, d) and states (C, N) of `names`; a name that a case lacks is not annotated."""
    chosen = [r if r.names == tuple(names) else r.select(names) for r in references]
    return np.stack([c.points for c in chosen]), np.stack([c.states for c in chosen])


def rows_csv(rows: Rows, observer: str = "reference") -> str:
    """All rows as CSV text, a line for each case and landmark; `docs/evaluation.md` explains the columns.

    Lengths are in the unit that the column `unit` names; empty where there is no value. `observer` is whose placement
    the reference is.
    """
    c, n = rows.states.shape
    axes = "xyz"[: rows.reference.shape[-1]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("case", "subject", "landmark", "observer", "reference", "predicted"),
            *(f"error_{a}" for a in axes),
            *("radial_error", "presence", "spread", "error_bound", "unit"),
        ]
    )
    states = np.array([STATE_WORDS[s] for s in State])[rows.states].ravel()
    answers = np.array([ANSWER_WORDS[a] for a in Answer])[rows.answers].ravel()
    lengths = np.stack([rows.radial, rows.presence, rows.spread, rows.bound], axis=-1)
    numbers = np.concatenate([rows.error, lengths], axis=-1).reshape(c * n, -1)
    columns = [[_number(v, 4) for v in column] for column in numbers.T.tolist()]
    cases = np.repeat(np.array(rows.cases, dtype=object), n)
    subjects = np.repeat(np.array(rows.subjects, dtype=object), n)
    names = np.tile(np.array(rows.names, dtype=object), c)
    same = ([observer] * (c * n), [rows.unit] * (c * n))
    writer.writerows(zip(cases, subjects, names, same[0], states, answers, *columns, same[1], strict=True))
    return text.getvalue()


def observer_rows(rows: Rows, placements: Placements) -> str:
    """As `rows_csv`, with each observer's own placement (first session) as the reference, one after another."""
    text = ""
    for p, person in enumerate(placements.persons):
        points = placements.single[:, p]
        marked = np.isfinite(points).all(axis=-1)
        states = np.where(marked, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
        lines = rows_csv(replace(rows, reference=points, states=states), person)
        text += lines if not text else lines.partition("\n")[2]
    return text


def fingerprint(rows: Rows) -> str:
    """SHA-256 of cases, names, reference and predictions: the same for the same data, wherever they lie."""
    digest = hashlib.sha256()
    for words in (rows.cases, rows.subjects, rows.names, (rows.unit,)):
        digest.update("\0".join(words).encode() + b"\1")
    for array in (rows.reference, rows.predicted, rows.presence):
        digest.update(np.ascontiguousarray(np.nan_to_num(array.round(6), nan=-1e30) + 0.0, dtype="<f8").tobytes())
    for array in (rows.states, rows.answers):
        digest.update(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
    return digest.hexdigest()


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else ""
