"""What the page is told, as JSON: the study, a line for each case, and all of one case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from anatomark.core.landmarks import Landmarks, State
from anatomark.data.cases import Case
from anatomark.formats.table import STATE_WORDS
from anatomark.review.entries import CaseReview
from anatomark.review.study import Answers

MINE = {State.PRESENT: "P", State.ABSENT: "A", State.NOT_ANNOTATED: "N"}
GIVEN = {State.PRESENT: "p", State.ABSENT: "a"}


def case_line(case: Case, names: Sequence[str], review: CaseReview, answers: Answers | None) -> dict[str, Any]:
    """A case as the list shows it.

    `states` has a letter for each landmark: P, A, N as the reviewer set it (present, absent, not annotated), else p, a
    as the reference has it, else m, x as the model says (present, absent), else -. `need` is the widest error bound
    among the landmarks that the reviewer has not set, None where there is none.
    """
    letters, widest = [], -math.inf
    reference = case.reference
    for k, name in enumerate(names):
        mine = review.placements.get(name)
        absent = answers is not None and bool(answers.absent[k])
        if mine is not None:
            letters.append(MINE[mine.state])
            continue
        if reference.states[k] != State.NOT_ANNOTATED:
            letters.append(GIVEN[State(int(reference.states[k]))])
        elif answers is not None and np.isfinite(answers.points[k]).all():
            letters.append("x" if absent else "m")
        else:
            letters.append("-")
        if answers is not None and not absent and np.isfinite(answers.bound[k]):
            widest = max(widest, float(answers.bound[k]))
    return {
        "id": case.id,
        "subject": case.subject,
        "split": case.split,
        "states": "".join(letters),
        "need": widest if math.isfinite(widest) and review.accepted is None else None,
        "accepted": review.accepted,
        "note": bool(review.note),
        "revision": review.revision,
    }


def case_whole(names: Sequence[str], reference: Landmarks, review: CaseReview, answers: Answers | None) -> list[dict]:
    """The landmarks of a case: each with what the reference, the model and the reviewer say of it."""
    return [
        {
            "name": name,
            "reference": _given(reference, k),
            "model": None if answers is None else _answer(answers, k),
            "mine": mine.to_dict() if (mine := review.placements.get(name)) is not None else None,
        }
        for k, name in enumerate(names)
    ]


def review_of(review: CaseReview) -> dict[str, Any]:
    """All that the reviewer said of a case."""
    return {
        "revision": review.revision,
        "accepted": review.accepted,
        "note": review.note,
        "changed": review.changed,
        "placements": {name: placement.to_dict() for name, placement in review.placements.items()},
    }


def _given(reference: Landmarks, k: int) -> dict[str, Any] | None:
    state = State(int(reference.states[k]))
    if state == State.NOT_ANNOTATED:
        return None
    return {"state": STATE_WORDS[state], "point": reference.points[k].tolist() if state == State.PRESENT else []}


def _answer(answers: Answers, k: int) -> dict[str, Any] | None:
    if not np.isfinite(answers.points[k]).all():
        return None
    return {
        "state": STATE_WORDS[State.ABSENT if answers.absent[k] else State.PRESENT],
        "point": answers.points[k].tolist(),
        "presence": _number(answers.presence[k]),
        "bound": _number(answers.bound[k]),
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
