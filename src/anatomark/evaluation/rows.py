"""Rows: one per case and landmark. Every number and picture of an evaluation is derived from them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import TextIO

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
_BLOCK = 1 << 16  # rows of which something is computed at once
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
                object.__setattr__(self, name, np.broadcast_to(np.nan, block))
        if not self.withheld.size:
            object.__setattr__(self, "withheld", np.broadcast_to(False, block))
        for name in PER_LANDMARK:
            array = getattr(self, name)
            if array.shape[:2] != block:
                raise ValueError(f"{name} must be {block[0]} cases x {block[1]} landmarks, got {array.shape}")
        if len(self.subjects) != len(self.cases):
            raise ValueError(f"{len(self.cases)} cases need as many subjects, got {len(self.subjects)}")

    def blocks(self) -> Iterator[slice]:
        """Slices of the cases, so that what is computed of one at a time takes little memory."""
        step = max(1, _BLOCK // max(1, len(self.names)))
        return (slice(start, start + step) for start in range(0, len(self.cases), step))

    def of_cases(self, cases: Sequence[str]) -> Rows:
        """The rows of these cases, in this order."""
        if tuple(cases) == self.cases:
            return self
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
        radial = np.empty(self.states.shape)
        for at in self.blocks():
            radial[at] = np.sqrt((self.error[at] ** 2).sum(axis=-1))
        return radial

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


def write_rows_csv(rows: Rows, file: TextIO, observer: str = "reference", *, header: bool = True) -> None:
    """All rows as CSV, a line for each case and landmark; `docs/evaluation.md` explains the columns.

    Lengths are in the unit that the column `unit` names; empty where there is no value. `observer` is whose placement
    the reference is.
    """
    axes = "xyz"[: rows.reference.shape[-1]]
    writer = csv.writer(file, lineterminator="\n")
    if header:
        writer.writerow(
            [
                *("case", "subject", "landmark", "observer", "reference", "predicted"),
                *(f"error_{a}" for a in axes),
                *("radial_error", "presence", "spread", "error_bound", "unit"),
            ]
        )
    states = [STATE_WORDS[s] for s in State]
    answers = [ANSWER_WORDS[a] for a in Answer]
    for at in rows.blocks():
        lengths = np.stack([rows.radial[at], rows.presence[at], rows.spread[at], rows.bound[at]], axis=-1)
        numbers = np.concatenate([rows.error[at], lengths], axis=-1).tolist()
        per_case = zip(
            rows.cases[at], rows.subjects[at], rows.states[at].tolist(), rows.answers[at].tolist(), numbers, strict=True
        )
        for case, subject, *columns in per_case:
            writer.writerows(
                [case, subject, name, observer, states[s], answers[a], *(_number(v, 4) for v in values), rows.unit]
                for name, s, a, values in zip(rows.names, *columns, strict=True)
            )


def rows_csv(rows: Rows, observer: str = "reference") -> str:
    """What `write_rows_csv` writes, as text."""
    text = io.StringIO()
    write_rows_csv(rows, text, observer)
    return text.getvalue()


def write_observer_rows(rows: Rows, placements: Placements, file: TextIO) -> None:
    """As `write_rows_csv`, with each observer's own placement (first session) as the reference, one after another."""
    for p, person in enumerate(placements.persons):
        points = placements.single[:, p]
        marked = np.isfinite(points).all(axis=-1)
        states = np.where(marked, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
        write_rows_csv(replace(rows, reference=points, states=states), file, person, header=p == 0)


def fingerprint(rows: Rows) -> str:
    """SHA-256 of cases, names, reference and predictions: the same for the same data, wherever they lie."""
    digest = hashlib.sha256()
    for words in (rows.cases, rows.subjects, rows.names, (rows.unit,)):
        digest.update("\0".join(words).encode() + b"\1")
    for array in (rows.reference, rows.predicted, rows.presence):
        for at in rows.blocks():
            known = np.nan_to_num(array[at].round(6), nan=-1e30) + 0.0
            digest.update(np.ascontiguousarray(known, dtype="<f8").tobytes())
    for array in (rows.states, rows.answers):
        digest.update(np.ascontiguousarray(array, dtype=np.uint8).tobytes())
    return digest.hexdigest()


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else ""
