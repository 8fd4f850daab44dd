"""Measurements of predictions against those of the reference: agreement and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.measurements import Classes, Measurement, measure, unit_of
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.metrics import interval_of
from anatomark.evaluation.placements import Placements
from anatomark.evaluation.result import Interval, Result
from anatomark.evaluation.rows import Answer, Rows


@dataclass(frozen=True)
class MeasuredCase(Result):
    """Both values of a case, in the unit of the measurement; `predicted` is None where a landmark is missing."""

    case: str
    reference: float
    predicted: float | None


@dataclass(frozen=True)
class Classification(Result):
    """Classes `names`, from low to high, by `thresholds` in the unit of the measurement; rates are percent.

    `rate`: cases in the correct class; `mean_class_rate`: the mean over the classes that occur of the percentage that
    is correct in each, which is the mean diagonal of the confusion matrix. A prediction without a value is wrong.
    `confusion` is {reference: {prediction or "missing": cases}}.
    """

    names: Sequence[str]
    thresholds: Sequence[float]
    rate: float | None
    mean_class_rate: float | None
    confusion: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class ObserverAgreement(Result):
    """Every two observers' values in the same case, second minus first, in the unit of the measurement.

    `bias` is None where there are more than two observers; `class_agreement` is the percentage in the same class.
    """

    n: int
    mean_absolute_error: float
    bias: float | None
    sd: float | None
    class_agreement: float | None


@dataclass(frozen=True)
class MeasurementScores(Result):
    """Predicted minus reference in `unit` ("" for ratios), over the `n` cases whose reference has all landmarks.

    `limits` are the limits of agreement, bias -+ 1.96 sd (Bland and Altman, doi 10.1016/S0140-6736(86)90837-8).
    """

    name: str
    kind: str
    unit: str
    n: int
    n_missing: int
    mean_absolute_error: float | None
    bias: float | None
    bias_interval: Interval | None
    sd: float | None
    limits: Interval | None
    rows: Sequence[MeasuredCase]
    classes: Classification | None
    observers: ObserverAgreement | None


def measurement_scores(
    measurements: Sequence[Measurement], rows: Rows, bootstrap: Bootstrap, placements: Placements | None = None
) -> list[MeasurementScores] | None:
    """The scores of each measurement that is not hidden, None where the data set has none.

    A case counts where the reference has all landmarks of the measurement; it is missing where the prediction has not.
    The observers' agreement is that of `placements`.
    """
    if not measurements:
        return None
    predicted_present = (rows.answers == Answer.PRESENT)[..., None]
    reference = measure(measurements, rows.names, rows.reference)
    predicted = measure(measurements, rows.names, np.where(predicted_present, rows.predicted, np.nan))
    by_observer: list[dict[str, Floats]] = []
    if placements is not None:
        by_observer = [measure(measurements, rows.names, points) for points in np.moveaxis(placements.single, 1, 0)]
    units: dict[str, str] = {}
    scores = []
    for m in measurements:
        units[m.name] = unit_of(m, rows.unit, units)
        if not m.hidden:
            agreement = between_observers(m, [values[m.name] for values in by_observer])
            values = reference[m.name], predicted[m.name]
            scores.append(_scores(m, units[m.name], *values, rows, bootstrap, agreement))
    return scores


def _scores(
    m: Measurement,
    unit: str,
    reference: Floats,
    predicted: Floats,
    rows: Rows,
    bootstrap: Bootstrap,
    observers: ObserverAgreement | None,
) -> MeasurementScores:
    """The scores of values (C,), NaN where a landmark is missing."""
    counted = np.isfinite(reference)
    paired = counted & np.isfinite(predicted)
    difference = (predicted - reference)[paired]
    bias = float(difference.mean()) if difference.size else None
    sd = float(difference.std(ddof=1)) if difference.size > 1 else None
    subjects = [rows.subjects[i] for i in np.flatnonzero(paired)]
    return MeasurementScores(
        name=m.name,
        kind=m.kind,
        unit=unit,
        n=int(counted.sum()),
        n_missing=int(counted.sum() - paired.sum()),
        mean_absolute_error=float(np.abs(difference).mean()) if difference.size else None,
        bias=bias,
        bias_interval=_interval(difference, subjects, bootstrap),
        sd=sd,
        limits=None if bias is None or sd is None else (bias - 1.96 * sd, bias + 1.96 * sd),
        rows=[
            MeasuredCase(rows.cases[i], float(reference[i]), float(predicted[i]) if paired[i] else None)
            for i in np.flatnonzero(counted)
        ],
        classes=None if m.classes is None else classification(m.classes, reference[counted], predicted[counted]),
        observers=observers,
    )


def between_observers(m: Measurement, values: Sequence[Floats]) -> ObserverAgreement | None:
    """The agreement of every two observers' values (C,), NaN where one has none; None where no case has two values."""
    pairs = [(a, b) for a, b in combinations(values, 2) if np.isfinite(a + b).any()]
    if not pairs:
        return None
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    paired = np.isfinite(first + second)
    difference = (second - first)[paired]
    agreement = None
    if m.classes is not None:
        agreement = float((class_of(m.classes, first[paired]) == class_of(m.classes, second[paired])).mean() * 100)
    return ObserverAgreement(
        n=int(paired.sum()),
        mean_absolute_error=float(np.abs(difference).mean()),
        bias=float(difference.mean()) if len(pairs) == 1 else None,
        sd=float(difference.std(ddof=1)) if len(difference) > 1 else None,
        class_agreement=agreement,
    )


def _interval(difference: Floats, subjects: Sequence[str], bootstrap: Bootstrap) -> Interval | None:
    if not bootstrap.possible or len(set(subjects)) < 2:
        return None
    sums = bootstrap.sums(bootstrap.totals(np.column_stack([difference, np.ones(len(difference))]), subjects))
    with np.errstate(invalid="ignore"):
        return interval_of(bootstrap.interval(sums[:, 0] / sums[:, 1]))


def classification(classes: Classes, reference: Floats, predicted: Floats) -> Classification:
    """The classes of predicted values (C,) against those of the reference (C,); NaN is a prediction without a value."""
    names = [*classes.names, "missing"]
    true = class_of(classes, reference)
    assigned = np.where(np.isfinite(predicted), class_of(classes, predicted), len(classes.names))
    table = np.zeros((len(classes.names), len(names)), dtype=int)
    np.add.at(table, (true, assigned), 1)
    correct, total = np.diag(table), table.sum(axis=1)
    return Classification(
        names=list(classes.names),
        thresholds=list(classes.thresholds),
        rate=float(correct.sum() / total.sum() * 100) if total.sum() else None,
        mean_class_rate=float((correct[total > 0] / total[total > 0]).mean() * 100) if total.sum() else None,
        confusion={
            name: dict(zip(names, line.tolist(), strict=True)) for name, line in zip(classes.names, table, strict=True)
        },
    )


def class_of(classes: Classes, values: Floats) -> NDArray[np.intp]:
    """(C,) number of each value's class; a value on a threshold is in the upper one."""
    return np.digitize(values, classes.thresholds)
