"""Presence: predictions of whether a landmark is in the image. Present is the positive answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.metrics import interval_of
from anatomark.evaluation.result import ONLY_IF_KNOWN, Interval, Result
from anatomark.evaluation.rows import ANSWER_WORDS, Answer, Rows
from anatomark.formats.table import STATE_WORDS


@dataclass(frozen=True)
class PresenceScores(Result):
    """How well presence is predicted; None, with a note, where it cannot be judged.

    `confusion` counts {state of the reference: {answer of the prediction: rows}}. `sensitivity` and `specificity` are
    percent of the present and absent reference landmarks, `auroc` is 0 to 1 over the `auroc_n` annotated rows that have
    a presence probability. A landmark without a prediction was not predicted to be present: a failure of sensitivity,
    none of specificity.
    """

    confusion: Mapping[str, Mapping[str, int]]
    n_present: int
    n_absent: int
    sensitivity: float | None
    specificity: float | None
    auroc: float | None
    auroc_n: int
    sensitivity_interval: Interval | None
    specificity_interval: Interval | None
    specificity_note: str | None = field(default=None, metadata=ONLY_IF_KNOWN)
    auroc_note: str | None = field(default=None, metadata=ONLY_IF_KNOWN)


def presence_scores(rows: Rows, bootstrap: Bootstrap | None = None) -> PresenceScores:
    """The scores of predicted presence; with a `bootstrap` their intervals, by subject."""
    present, absent = rows.states == State.PRESENT, rows.states == State.ABSENT
    predicted = rows.answers == Answer.PRESENT
    known = ~np.isnan(rows.presence)
    area = auroc(rows.presence[present & known], rows.presence[absent & known])
    auroc_note = "it needs present and absent landmarks in the reference"
    if not known.any():
        auroc_note = "the predictions hold no presence probability"
    return PresenceScores(
        confusion=confusion(rows),
        n_present=int(present.sum()),
        n_absent=int(absent.sum()),
        sensitivity=float(predicted[present].mean() * 100) if present.any() else None,
        specificity=float((~predicted[absent]).mean() * 100) if absent.any() else None,
        auroc=area,
        auroc_n=int(((present | absent) & known).sum()),
        sensitivity_interval=_interval(bootstrap, rows, present, predicted),
        specificity_interval=_interval(bootstrap, rows, absent, ~predicted),
        specificity_note=None if absent.any() else "no landmark is absent in the reference",
        auroc_note=auroc_note if area is None else None,
    )


def _interval(
    bootstrap: Bootstrap | None, rows: Rows, counted: NDArray[np.bool_], correct: NDArray[np.bool_]
) -> Interval | None:
    """The interval of the percentage of `counted` rows (C, N) that are `correct`; None of fewer than two subjects."""
    if bootstrap is None or not bootstrap.possible:
        return None
    counts = [(counted & correct).sum(axis=1), counted.sum(axis=1)]
    totals = bootstrap.totals(np.column_stack(counts), rows.subjects)
    if (totals[:, 1] > 0).sum() < 2:
        return None
    sums = bootstrap.sums(totals)
    with np.errstate(invalid="ignore"):
        return interval_of(bootstrap.interval(sums[:, 0] / sums[:, 1] * 100))


def confusion(rows: Rows) -> dict[str, dict[str, int]]:
    """Counts {state of the reference: {answer of the prediction: rows}}."""
    counts = np.bincount((rows.states.astype(int) * len(Answer) + rows.answers).ravel(), minlength=9)
    table = counts.reshape(len(State), len(Answer))
    return {STATE_WORDS[s]: {ANSWER_WORDS[a]: int(table[s, a]) for a in reversed(Answer)} for s in reversed(State)}


def auroc(positive: Floats, negative: Floats) -> float | None:
    """The chance that a positive scores above a negative, ties half: the area under the ROC curve.

    From ranks, as the Mann-Whitney U (Hanley and McNeil, doi 10.1148/radiology.143.1.7063747). None where one is empty.
    """
    if not len(positive) or not len(negative):
        return None
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))
