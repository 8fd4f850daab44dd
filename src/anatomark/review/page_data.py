"""The JSON of the page: a summary for each case, and the details of one case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anatomark.core.landmarks import Landmarks, State
from anatomark.data.cases import Case
from anatomark.formats.table import STATE_WORDS
from anatomark.review.entries import CaseReview
from anatomark.review.study import CasePrediction

REVIEWED = {State.PRESENT: "P", State.ABSENT: "A", State.NOT_ANNOTATED: "N"}
REFERENCE = {State.PRESENT: "p", State.ABSENT: "a"}


def case_summary(
    case: Case, names: Sequence[str], review: CaseReview, prediction: CasePrediction | None
) -> dict[str, Any]:
    """A case as the list shows it.

    `states` has a letter for each landmark: P, A, N as set by the reviewer (present, absent, not annotated), else p, a
    as in the reference, else m, x as predicted by the model (present, absent), else -. `need` is the widest error bound
    of the landmarks that the reviewer has not set, None if there is none. `unsuitable` images have none, and
    want to be looked at first.
    """
    letters, widest = [], -math.inf
    reference = case.reference
    for k, name in enumerate(names):
        mine = review.placements.get(name)
        absent = prediction is not None and bool(prediction.absent[k])
        if mine is not None:
            letters.append(REVIEWED[mine.state])
            continue
        if reference.states[k] != State.NOT_ANNOTATED:
            letters.append(REFERENCE[State(int(reference.states[k]))])
        elif prediction is not None and np.isfinite(prediction.points[k]).all():
            letters.append("x" if absent else "m")
        else:
            letters.append("-")
        if prediction is not None and not absent and np.isfinite(prediction.bound[k]):
            widest = max(widest, float(prediction.bound[k]))
    return {
        "id": case.id,
        "subject": case.subject,
        "split": case.split,
        "states": "".join(letters),
        "need": widest if math.isfinite(widest) and review.accepted is None else None,
        "unsuitable": prediction is not None and prediction.unsuitable and review.accepted is None,
        "accepted": review.accepted,
        "note": bool(review.note),
        "revision": review.revision,
    }


def case_detail(
    names: Sequence[str], reference: Landmarks, review: CaseReview, prediction: CasePrediction | None
) -> list[dict]:
    """The landmarks of a case, each as in the reference, as predicted and as set by the reviewer."""
    return [
        {
            "name": name,
            "reference": _referenced(reference, k),
            "model": None if prediction is None else _predicted(prediction, k),
            "mine": mine.to_dict() if (mine := review.placements.get(name)) is not None else None,
        }
        for k, name in enumerate(names)
    ]


def review_of(review: CaseReview) -> dict[str, Any]:
    """The review of a case."""
    return {
        "revision": review.revision,
        "accepted": review.accepted,
        "note": review.note,
        "changed": review.changed,
        "placements": {name: placement.to_dict() for name, placement in review.placements.items()},
    }


def _referenced(reference: Landmarks, k: int) -> dict[str, Any] | None:
    state = State(int(reference.states[k]))
    if state == State.NOT_ANNOTATED:
        return None
    return {"state": STATE_WORDS[state], "point": reference.points[k].tolist() if state == State.PRESENT else []}


def _predicted(prediction: CasePrediction, k: int) -> dict[str, Any] | None:
    if not np.isfinite(prediction.points[k]).all():
        return None
    return {
        "state": STATE_WORDS[State.ABSENT if prediction.absent[k] else State.PRESENT],
        "point": prediction.points[k].tolist(),
        "presence": _number(prediction.presence[k]),
        "bound": _number(prediction.bound[k]),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
