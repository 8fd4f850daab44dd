"""Suspects: cases and points whose reference is probably wrong, because the predictions contradict it.

A reference point is suspect if it lies farther from the prediction than can be expected: FACTOR times its error bound,
and DEVIATIONS robust deviations beyond the median distance of its landmark in this data set. The second makes up for
bounds that are too short for data from elsewhere, and stands alone where there are none. A case is suspect as a whole
if its points are far off in the median; then left and right, and the points of other cases, are tried as explanations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.shapes import median_and_mad
from anatomark.evaluation.rows import Answer, Rows

Kind = Literal["unusual-image", "swapped", "left-right", "far-case", "far-point"]
KINDS: tuple[Kind, ...] = ("unusual-image", "swapped", "left-right", "far-case", "far-point")  # the worst first

FACTOR = 1.5  # times the error bound
DEVIATIONS = 3.5  # robust, beyond the median distance of the landmark
FAR_CASE = 0.7  # median, over its points, of the distance as a part of the limit
FEWEST_POINTS = 4  # of a case that is judged as a whole
FEWEST_CASES = 8  # for a distribution of distances
EXPLAINS = 0.5  # another reading must bring the distances below this part


@dataclass(frozen=True)
class Suspect:
    """A case, or some `landmarks` of it, whose reference is probably wrong.

    `distance` is that of the reference from the prediction, in the unit of the points (the median of several; NaN where
    it is not known), and `excess` says how many times the `limit` it is. `other` is the case that the points fit, and
    `explained` their distance if that is true, or if left and right are exchanged. `mutual`: the points of `other` fit
    this case as well. `reason` says why an image is unusual.
    """

    kind: Kind
    case: str
    distance: float = float("nan")
    limit: float = float("nan")
    excess: float = float("nan")
    landmarks: tuple[str, ...] = ()
    other: str = ""
    explained: float = float("nan")
    mutual: bool = False
    reason: str = ""


def find_suspects(
    rows: Rows, pairs: Sequence[tuple[str, str]] = (), unusual: Mapping[str, str] | None = None
) -> list[Suspect]:
    """The suspects among predicted cases, the worst first; each point is in one of them at most.

    `pairs` are the names of left and right landmarks, `unusual` {case: the reason} the images that are not like the
    training images. Only points that are present in both reference and prediction are judged.
    """
    unusual = unusual or {}
    limit = limits(rows)
    found = [
        Suspect("unusual-image", case, *_whole(rows, limit, i), reason=unusual[case])
        for i, case in enumerate(rows.cases)
        if case in unusual
    ]
    judged = np.array([case not in unusual for case in rows.cases], dtype=bool)
    couples = _couples(rows.names, pairs)
    exchanged = _exchanged(rows, limit, couples) & judged[:, None]
    reference = _exchange(rows.reference, couples, exchanged)
    far = _far_cases(reference, rows, limit) & judged
    swapped = _swapped(reference, rows, limit, far)
    for i in np.flatnonzero(judged).tolist():
        if i in swapped:
            found.append(swapped[i])
        elif exchanged[i].any():
            found.append(_left_right(rows, reference, limit, i, couples[exchanged[i]]))
        elif far[i]:
            found.append(Suspect("far-case", rows.cases[i], *_whole(rows, limit, i)))
        if i not in swapped and not far[i]:
            at = [k for k in range(len(rows.names)) if k not in couples[exchanged[i]]]
            found += _points(rows, limit, i, at)
    return sorted(found, key=lambda s: (KINDS.index(s.kind), -np.nan_to_num(s.excess), s.case))


def limits(rows: Rows) -> Floats:
    """(C, N) the distance up to which a reference may lie from its prediction; NaN where nothing is known of it."""
    distance = _distances(rows)
    middle, deviation = median_and_mad(distance)
    deviation = np.fmax(deviation, _middle(deviation))  # that of a few may be small by chance
    enough = np.isfinite(distance).sum(axis=0) >= FEWEST_CASES
    own = np.where(enough, middle + DEVIATIONS * deviation, np.nan)
    usual, _ = median_and_mad(rows.bound)  # of images without bounds
    bound = np.where(np.isfinite(rows.bound), rows.bound, usual)
    return np.fmax(own, FACTOR * bound)


def _distances(rows: Rows) -> Floats:
    return np.where(rows.found, rows.radial, np.nan)


def _excess(distance: Floats, limit: Floats) -> Floats:
    """How many times its limit a distance is; 0 where there is no distance at all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / limit)


def _middle(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _whole(rows: Rows, limit: Floats, i: int) -> tuple[float, float, float]:
    """Median distance of a case, its limit, and their ratio, point by point, as a part of FAR_CASE."""
    distance = _distances(rows)[i]
    return _middle(distance), FAR_CASE * _middle(limit[i]), _middle(_excess(distance, limit[i])) / FAR_CASE


def _points(rows: Rows, limit: Floats, i: int, at: Sequence[int]) -> list[Suspect]:
    excess = _excess(_distances(rows)[i], limit[i])
    return [
        Suspect(
            "far-point", rows.cases[i], float(rows.radial[i, k]), float(limit[i, k]), float(excess[k]), (rows.names[k],)
        )
        for k in at
        if excess[k] > 1
    ]


def _ratios(reference: Floats, predicted: Floats, limit: Floats) -> Floats:
    """(...) median of distance by limit over points (..., N, d); NaN where too few are known."""
    ratio = _excess(np.linalg.norm(reference - predicted, axis=-1), limit)
    middle, _ = median_and_mad(ratio, axis=-1)
    return np.where(np.isfinite(ratio).sum(axis=-1) >= FEWEST_POINTS, middle, np.nan)


def _predicted(rows: Rows) -> Floats:
    """(C, N, d) the predicted points, NaN where the landmark is predicted as absent."""
    return np.where((rows.answers == Answer.PRESENT)[..., None], rows.predicted, np.nan)


def _far_cases(reference: Floats, rows: Rows, limit: Floats) -> NDArray[np.bool_]:
    return _ratios(reference, _predicted(rows), limit) > FAR_CASE


def _swapped(reference: Floats, rows: Rows, limit: Floats, far: NDArray[np.bool_]) -> dict[int, Suspect]:
    """{case number: suspect} of far cases whose points fit the prediction of another case."""
    predicted = _predicted(rows)
    own = _ratios(reference, predicted, limit)
    fits: dict[int, int] = {}
    for i in np.flatnonzero(far).tolist():
        others = _ratios(reference[i], predicted, limit[i])
        others[i] = np.nan
        if np.isfinite(others).any():
            best = int(np.nanargmin(others))
            if others[best] < min(FAR_CASE, EXPLAINS * own[i]):
                fits[i] = best
    return {
        i: Suspect(
            "swapped",
            rows.cases[i],
            *_whole(rows, limit, i),
            other=rows.cases[j],
            explained=_middle(np.linalg.norm(reference[i] - predicted[j], axis=-1)),
            mutual=fits.get(j) == i,
        )
        for i, j in fits.items()
    }


def _couples(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    """(P, 2) the numbers of the pairs of which both are among `names`."""
    number = {name: k for k, name in enumerate(names)}
    both = [(number[a], number[b]) for a, b in pairs if a in number and b in number]
    return np.array(both, dtype=np.int64).reshape(-1, 2)


def _exchange(points: Floats, couples: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Floats:
    """`points` (C, N, d) with the two of each `chosen` (C, P) pair exchanged."""
    result = points.copy()
    for (a, b), cases in zip(couples, chosen.T, strict=True):
        result[cases, a], result[cases, b] = points[cases, b], points[cases, a]
    return result


def _exchanged(rows: Rows, limit: Floats, couples: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(C, P) whether a pair fits much better the other way round; one of its points may be all that is annotated."""
    predicted, a, b = _predicted(rows), couples[:, 0], couples[:, 1]
    known = np.isfinite(predicted[:, a]).all(axis=-1) & np.isfinite(predicted[:, b]).all(axis=-1)

    def apart(reference: NDArray[np.int64], prediction: NDArray[np.int64]) -> Floats:
        return np.linalg.norm(rows.reference[:, reference] - predicted[:, prediction], axis=-1)

    beyond = (apart(a, a) > limit[:, a]) | (apart(b, b) > limit[:, b])
    as_named = np.nan_to_num(apart(a, a)) + np.nan_to_num(apart(b, b))
    other_way = np.nan_to_num(apart(a, b)) + np.nan_to_num(apart(b, a))
    return known & beyond & (other_way < EXPLAINS * as_named)


def _left_right(rows: Rows, reference: Floats, limit: Floats, i: int, couples: NDArray[np.int64]) -> Suspect:
    """The suspect of all exchanged pairs of a case; `reference` has them the other way round."""
    at = couples.ravel()
    distance = _distances(rows)[i, at]
    explained = np.linalg.norm(reference[i, at] - rows.predicted[i, at], axis=-1)
    excess = float(np.nanmax(_excess(distance, limit[i, at])))
    names = tuple(rows.names[k] for k in at)
    far, near = _middle(distance), _middle(explained)
    return Suspect("left-right", rows.cases[i], far, _middle(limit[i, at]), excess, names, explained=near)
