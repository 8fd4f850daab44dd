"""Presence: what was said of landmarks that are in the image or are not. Present is the positive answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.metrics import limits
from anatomark.evaluation.rows import ANSWER_WORDS, Answer, Rows
from anatomark.formats.table import STATE_WORDS


def presence_scores(rows: Rows, bootstrap: Bootstrap | None = None) -> dict[str, Any]:
    """confusion, n_present, n_absent, sensitivity, specificity (percent) and auroc (0 to 1), with intervals.

    A landmark without a prediction was not said to be present: a failure of sensitivity, none of specificity. `auroc`
    is over the rows that have a presence probability, `auroc_n` of them. None, with a note, where nothing can be said.
    """
    present, absent = rows.states == State.PRESENT, rows.states == State.ABSENT
    said = rows.answers == Answer.PRESENT
    known = ~np.isnan(rows.presence)
    told: dict[str, Any] = {
        "confusion": confusion(rows),
        "n_present": int(present.sum()),
        "n_absent": int(absent.sum()),
        "sensitivity": float(said[present].mean() * 100) if present.any() else None,
        "specificity": float((~said[absent]).mean() * 100) if absent.any() else None,
        "auroc": auroc(rows.presence[present & known], rows.presence[absent & known]),
        "auroc_n": int(((present | absent) & known).sum()),
        "sensitivity_interval": None,
        "specificity_interval": None,
    }
    if not absent.any():
        told["specificity_note"] = "no landmark is absent in the reference"
    if told["auroc"] is None:
        why = "the predictions hold no presence probability"
        told["auroc_note"] = "it needs present and absent landmarks in the reference" if known.any() else why
    if bootstrap is not None and bootstrap.possible:
        for key, of, right in (("sensitivity", present, said), ("specificity", absent, ~said)):
            told[f"{key}_interval"] = _interval(bootstrap, rows, of, right) if of.any() else None
    return told


def _interval(bootstrap: Bootstrap, rows: Rows, of: NDArray[np.bool_], right: NDArray[np.bool_]) -> list[float] | None:
    brought = np.zeros((len(bootstrap.subjects), 2))
    np.add.at(brought, bootstrap.index(rows.subjects), np.column_stack([(of & right).sum(axis=1), of.sum(axis=1)]))
    if (brought[:, 1] > 0).sum() < 2:
        return None
    sums = bootstrap.sums(brought)
    with np.errstate(invalid="ignore"):
        return limits(bootstrap.interval(sums[:, 0] / sums[:, 1] * 100))


def confusion(rows: Rows) -> dict[str, dict[str, int]]:
    """Counts {state of the reference: {answer of the prediction: rows}}."""
    counts = np.bincount((rows.states.astype(int) * len(Answer) + rows.answers).ravel(), minlength=9)
    table = counts.reshape(len(State), len(Answer))
    return {STATE_WORDS[s]: {ANSWER_WORDS[a]: int(table[s, a]) for a in reversed(Answer)} for s in reversed(State)}


def auroc(positive: Floats, negative: Floats) -> float | None:
    """The chance that a positive scores above a negative, ties half: the area under the ROC curve.

    From ranks, as the Mann-Whitney U (Hanley and McNeil, doi 10.1148/radiology.143.1.7063747). None where one is empty.
    """
    from scipy.stats import rankdata

    if not len(positive) or not len(negative):
        return None
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))
