"""Metrics of rows: radial errors, successful detection rates, misses, the presence confusion.

What counts: only landmarks that are present in the reference. One that is not annotated counts nowhere; one
that is present and was not found is a failure in every detection rate, is listed, and has no radial error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.core.landmarks import Landmarks, State
from anatomark.evaluation.rows import ANSWER_WORDS, Answer, Rows, reference_block
from anatomark.formats.table import STATE_WORDS

THRESHOLDS = (2.0, 2.5, 3.0, 4.0)


def describe(scored: Floats) -> dict[str, Any]:
    """n, n_missing, mre, median, sd and sdr of scored errors: NaN does not count, infinity is a miss.

    `n` counts all, `mre`, `median` and `sd` (sample) only the found; `sdr` is the percentage of `n` within 2,
    2.5, 3 and 4 units, border included. None stands where nothing can be said.
    """
    scored = scored[~np.isnan(scored)]
    found = scored[np.isfinite(scored)]
    n = scored.size
    return {
        "n": int(n),
        "n_missing": int(n - found.size),
        "mre": float(found.mean()) if found.size else None,
        "median": float(np.median(found)) if found.size else None,
        "sd": float(found.std(ddof=1)) if found.size > 1 else None,
        "sdr": {f"{t:g}": float((scored <= t).mean() * 100) if n else None for t in THRESHOLDS},
    }


def describe_block(scored: Floats, names: Sequence[str]) -> dict[str, Any]:
    """`overall` and each of `landmarks` (see `describe`) of scored errors (C, N)."""
    return {
        "overall": describe(scored.ravel()),
        "landmarks": {name: describe(scored[:, k]) for k, name in enumerate(names)},
    }


def missing(rows: Rows) -> list[dict[str, str]]:
    """Case, landmark and reason of every present reference landmark that was not found."""
    reasons = {Answer.MISSING: "no prediction", Answer.ABSENT: "said absent"}
    where = np.argwhere(rows.counted & ~rows.found).tolist()
    return [
        {"case": rows.cases[i], "landmark": rows.names[k], "reason": reasons[Answer(rows.answers[i, k])]}
        for i, k in where
    ]


def presence_confusion(rows: Rows) -> dict[str, dict[str, int]]:
    """Counts {state of the reference: {answer of the prediction: rows}}."""
    counts = np.bincount((rows.states.astype(int) * len(Answer) + rows.answers).ravel(), minlength=9)
    table = counts.reshape(len(State), len(Answer))
    return {STATE_WORDS[s]: {ANSWER_WORDS[a]: int(table[s, a]) for a in reversed(Answer)} for s in reversed(State)}


def observer_distances(
    observers: Sequence[dict[str, Landmarks]], names: Sequence[str]
) -> tuple[tuple[str, ...], Floats] | None:
    """Observer names and the distances (C * pairs, N) between any two of them; None where no case has two.

    `observers` holds one {observer: landmarks} per case. NaN where not both marked the landmark as present.
    """
    blocks, seen = [], {}
    for case in observers:
        seen |= dict.fromkeys(case)
        if len(case) > 1:
            points, _ = reference_block(list(case.values()), names)
            a, b = np.array(list(combinations(range(len(points)), 2))).T
            blocks.append(np.sqrt(((points[a] - points[b]) ** 2).sum(axis=-1)))
    return (tuple(seen), np.concatenate(blocks)) if blocks else None
