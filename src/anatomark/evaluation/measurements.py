"""Measurements of predictions against those of the reference: agreement and classes."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.measurements import Classes, Measurement, measure, unit_of
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.metrics import limits
from anatomark.evaluation.rows import Answer, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anatomark.evaluation.placements import Placements


def measurement_scores(
    measurements: Sequence[Measurement], rows: Rows, bootstrap: Bootstrap, placements: Placements | None = None
) -> list[dict[str, Any]] | None:
    """One entry for each measurement that is not hidden, None where the data set has none.

    n, n_missing, mean_absolute_error, bias, sd and limits of predicted minus reference: limits of agreement are
    bias -+ 1.96 sd (Bland and Altman, doi 10.1016/S0140-6736(86)90837-8). `rows` has both values of each case. A case
    counts where the reference has all landmarks; it is missing where the prediction has not. `observers` has the same
    between every two observers of `placements` (see `between_observers`), or None.
    """
    if not measurements:
        return None
    said = (rows.answers == Answer.PRESENT)[..., None]
    reference = measure(measurements, rows.names, rows.reference)
    predicted = measure(measurements, rows.names, np.where(said, rows.predicted, np.nan))
    persons = range(len(placements.persons)) if placements is not None else ()
    theirs = [measure(measurements, rows.names, placements.single[:, p]) for p in persons] if placements else []
    units: dict[str, str] = {}
    told = []
    for m in measurements:
        units[m.name] = unit_of(m, rows.unit, units)
        if not m.hidden:
            scores = _scores(m, units[m.name], reference[m.name], predicted[m.name], rows, bootstrap)
            told.append(scores | {"observers": between_observers(m, [values[m.name] for values in theirs])})
    return told


def _scores(
    m: Measurement, unit: str, reference: Floats, predicted: Floats, rows: Rows, bootstrap: Bootstrap
) -> dict[str, Any]:
    counted = np.isfinite(reference)
    both = counted & np.isfinite(predicted)
    difference = (predicted - reference)[both]
    some, several = difference.size > 0, difference.size > 1
    bias = float(difference.mean()) if some else None
    sd = float(difference.std(ddof=1)) if several else None
    subjects = [s for s, there in zip(rows.subjects, both, strict=True) if there]
    return {
        "name": m.name,
        "kind": m.kind,
        "unit": unit,
        "n": int(counted.sum()),
        "n_missing": int(counted.sum() - both.sum()),
        "mean_absolute_error": float(np.abs(difference).mean()) if some else None,
        "bias": bias,
        "bias_interval": _interval(difference, subjects, bootstrap),
        "sd": sd,
        "limits": None if bias is None or sd is None else [bias - 1.96 * sd, bias + 1.96 * sd],
        "rows": [
            {
                "case": rows.cases[i],
                "reference": float(reference[i]),
                "predicted": float(predicted[i]) if both[i] else None,
            }
            for i in np.flatnonzero(counted)
        ],
        "classes": None if m.classes is None else classification(m.classes, reference[counted], predicted[counted]),
    }


def between_observers(m: Measurement, values: Sequence[Floats]) -> dict[str, Any] | None:
    """n, mean_absolute_error, bias, sd and class_agreement of every two observers' values (C,) in the same case.

    `bias` is of the second observer against the first, None where there are more; `class_agreement` is percent. None
    where no case has two values.
    """
    pairs = [(a, b) for a, b in combinations(values, 2) if np.isfinite(a + b).any()]
    if not pairs:
        return None
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    both = np.isfinite(first + second)
    difference = (second - first)[both]
    same = None
    if m.classes is not None:
        same = float((class_of(m.classes, first[both]) == class_of(m.classes, second[both])).mean() * 100)
    return {
        "n": int(both.sum()),
        "mean_absolute_error": float(np.abs(difference).mean()),
        "bias": float(difference.mean()) if len(pairs) == 1 else None,
        "sd": float(difference.std(ddof=1)) if len(difference) > 1 else None,
        "class_agreement": same,
    }


def _interval(difference: Floats, subjects: Sequence[str], bootstrap: Bootstrap) -> list[float] | None:
    if not bootstrap.possible or len(set(subjects)) < 2:
        return None
    brought = np.zeros((len(bootstrap.subjects), 2))
    np.add.at(brought, bootstrap.index(subjects), np.column_stack([difference, np.ones(len(difference))]))
    sums = bootstrap.sums(brought)
    with np.errstate(invalid="ignore"):
        return limits(bootstrap.interval(sums[:, 0] / sums[:, 1]))


def classification(classes: Classes, reference: Floats, predicted: Floats) -> dict[str, Any]:
    """names, thresholds, confusion {reference: {prediction or "missing": n}}, and two rates in percent.

    `rate` is the share of all cases in the right class, `mean_class_rate` the mean over the classes that occur of the
    share that is right in each: the mean of the diagonal of the confusion matrix in shares of its rows. A prediction
    without a value is wrong.
    """
    names = [*classes.names, "missing"]
    true = class_of(classes, reference)
    said = np.where(np.isfinite(predicted), class_of(classes, predicted), len(classes.names))
    table = np.zeros((len(classes.names), len(names)), dtype=int)
    np.add.at(table, (true, said), 1)
    right, of = np.diag(table), table.sum(axis=1)
    return {
        "names": list(classes.names),
        "thresholds": list(classes.thresholds),
        "rate": float(right.sum() / of.sum() * 100) if of.sum() else None,
        "mean_class_rate": float((right[of > 0] / of[of > 0]).mean() * 100) if of.sum() else None,
        "confusion": {
            name: dict(zip(names, line.tolist(), strict=True)) for name, line in zip(classes.names, table, strict=True)
        },
    }


def class_of(classes: Classes, values: Floats) -> NDArray[np.intp]:
    """(C,) number of each value's class; a value on a threshold is in the upper one."""
    return np.digitize(values, classes.thresholds)
