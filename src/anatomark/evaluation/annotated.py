"""What a data set says of many cases, read one case after another: the reference, and the observers' placements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.cases import Case
from anatomark.data.description import Dataset
from anatomark.evaluation.placements import Placements, placed

KEPT = 5000  # cases; the annotations of more would take many times the memory of their arrays


@dataclass(frozen=True, eq=False)
class Annotated:
    """The `reference` (C, N, d), world LPS, NaN where there is no point, and its `states` (C, N), of C cases."""

    reference: Floats
    states: NDArray[np.uint8]
    placements: Placements | None = None


def read_annotated(dataset: Dataset, cases: Sequence[Case], *, observers: bool = False) -> Annotated:
    """The annotations of `cases`, with what the `observers` placed if that is asked for, combined answers left out."""
    shape = (len(cases), len(dataset.names))
    reference, states = np.full((*shape, dataset.ndim), np.nan), np.zeros(shape, dtype=np.uint8)
    columns: dict[str, Floats] = {}
    for c, case in enumerate(each_case(cases)):
        marks = case.reference if case.reference.names == dataset.names else case.reference.select(dataset.names)
        reference[c], states[c] = marks.points, marks.states
        if observers:
            for name, marks in case.observers.items():
                if name not in dataset.combined:
                    if name not in columns:
                        columns[name] = np.full((*shape, dataset.ndim), np.nan)
                    columns[name][c] = (marks if marks.names == dataset.names else marks.select(dataset.names)).points
    if not observers:
        return Annotated(reference, states)
    ids, subjects = [case.id for case in cases], [case.subject for case in cases]
    placements = placed(ids, subjects, columns, dataset.names, dataset.ndim, dataset.unit, dataset.session_pattern)
    return Annotated(reference, states, placements)


def each_case(cases: Sequence[Case]) -> Iterator[Case]:
    """The cases; of more than KEPT copies, so that what is read of a case goes with it."""
    return iter(cases) if len(cases) <= KEPT else (replace(case) for case in cases)
