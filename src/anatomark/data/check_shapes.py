"""Checks of points against the shape of the other cases: exchanged sides, mirrored cases, sizes, outliers.

A case is never compared with numbers of ours but with its set: a finding lies many robust deviations from the
median of the others and past a floor, so that a good set, however varied, stays silent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.data.cases import Case
from anatomark.data.findings import Finding
from anatomark.data.shapes import Fit, align_shape, median_and_mad, radius, typical_shape

FEWEST_CASES = 8
DEVIATIONS = 7.0
POINT_FLOOR = 0.08  # of the radius of the typical shape
CASE_FLOOR = 0.12
SIZE_FLOOR = 0.45  # of the natural logarithm: 1.57 times larger or smaller
EXPLAINS = 0.6  # another reading of the case must bring its mean residual below this part


@dataclass(frozen=True)
class Row:
    """One observer's points of one case: what the shape checks look at."""

    case: Case
    observer: str
    file: str
    by: str = ""  # ends the messages where there are several observers

    def finding(self, code: str, message: str, advice: str, landmark: str = "", level: str = "warning") -> Finding:
        return Finding(
            "error" if level == "error" else "warning",
            code,
            message + self.by,
            advice,
            self.case.id,
            self.file,
            landmark,
        )


def shape_findings(
    rows: Sequence[Row], points: Floats, names: Sequence[str], pairs: Sequence[tuple[str, str]], unit: str
) -> list[Finding]:
    """Findings on `points` (M, N, d), world LPS, NaN unless present; row m belongs to `rows[m]`."""
    shape = typical_shape(points) if len(rows) >= FEWEST_CASES else np.full(points.shape[1:], np.nan)
    plain = align_shape(shape, points)
    if np.isfinite(plain.costs).sum() < FEWEST_CASES:
        return []
    size = radius(shape)
    findings: list[Finding] = []
    explained = np.zeros(len(rows), dtype=bool)
    for row, found in _sides(rows, points, names, pairs, shape, plain):
        explained[row] = True
        findings += found
    for row, found in _whole_cases(rows, plain, size, unit):
        if not explained[row]:
            findings.append(found)
            explained[row] = found.code == "shape"
    return findings + _outliers(rows, plain, names, size, unit, skip=explained)


def _outliers(
    rows: Sequence[Row], plain: Fit, names: Sequence[str], size: float, unit: str, *, skip: NDArray[np.bool_]
) -> list[Finding]:
    """Single points far from where the others' shape puts them."""
    others, deviation = median_and_mad(plain.residuals)
    own, _ = median_and_mad(plain.residuals, axis=1)
    # in a small set the scatter of one landmark may look small by chance: no less than the typical scatter counts
    deviation = np.fmax(deviation, np.nanmedian(deviation))
    limit = others + np.maximum(DEVIATIONS * deviation, POINT_FLOOR * size)
    # a case that differs as a whole has no single outlier, so its own median counts as well
    with np.errstate(invalid="ignore"):
        far = (plain.residuals > limit) & (plain.residuals > 4 * own[:, None]) & ~skip[:, None]
    enough = np.isfinite(plain.residuals).sum(axis=0) >= FEWEST_CASES
    return [
        rows[m].finding(
            "outlier",
            f"{names[n]} lies {plain.residuals[m, n]:.1f} {unit} from where the other cases' shape puts it "
            f"(usual: {others[n]:.1f} {unit})",
            "look at this point; if it is right, keep it",
            names[n],
        )
        for m, n in np.argwhere(far & enough).tolist()
    ]


def _whole_cases(rows: Sequence[Row], plain: Fit, size: float, unit: str) -> Iterator[tuple[int, Finding]]:
    """Cases much larger or smaller than the others, or whose points do not form that shape at all."""
    own, _ = median_and_mad(plain.residuals / plain.scales[:, None], axis=1)
    middle, deviation = median_and_mad(own)
    logs = np.log(plain.scales)
    middle_log, deviation_log = median_and_mad(logs)
    with np.errstate(invalid="ignore"):
        misfits = own > middle + np.maximum(DEVIATIONS * deviation, CASE_FLOOR * size)
        sizes = np.abs(logs - middle_log) > np.maximum(DEVIATIONS * deviation_log, SIZE_FLOOR)
    for m in np.flatnonzero(misfits).tolist():
        message = f"its points do not form the shape of the other cases ({own[m]:.1f} {unit} off, usual: {middle:.1f})"
        advice = "check the order of the names, the frame and the spacing of this case"
        yield m, rows[m].finding("shape", message, advice, level="error")
    for m in np.flatnonzero(sizes & ~misfits).tolist():
        message = f"its points span {np.exp(logs[m] - middle_log):.2g} times what they span in the other cases"
        advice = "check the spacing of this case, and the unit and frame of its points"
        yield m, rows[m].finding("size", message, advice)


def _sides(
    rows: Sequence[Row],
    points: Floats,
    names: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    shape: Floats,
    plain: Fit,
) -> Iterator[tuple[int, list[Finding]]]:
    """Pairs with left and right exchanged, and cases that are mirrored."""
    number = {name: k for k, name in enumerate(names)}
    couples = np.array([(number[a], number[b]) for a, b in pairs], dtype=int).reshape(-1, 2)
    exchange = np.arange(len(names))
    exchange[couples[:, 0]], exchange[couples[:, 1]] = couples[:, 1], couples[:, 0]
    mirror = np.ones(points.shape[2])
    mirror[0] = -1.0
    there = np.isfinite(points[:, couples[:, 0], 0]) | np.isfinite(points[:, couples[:, 1], 0])
    usual, _ = median_and_mad(plain.residuals)
    apart = 4 * usual[couples].max(axis=1, initial=0.0)
    # three other readings of each case: some pairs exchanged, all but some exchanged, everything mirrored
    some = _exchanged(points, plain.points, couples, apart)
    most = there & ~_exchanged(points, align_shape(shape[exchange], points).points, couples, apart)
    costs_some = align_shape(shape, _swapped(points, couples, some)).costs
    costs_most = np.where(most.any(axis=1), align_shape(shape, _swapped(points, couples, most)).costs, np.inf)
    costs_mirrored = align_shape(shape * mirror, points).costs
    for row, cost in enumerate(plain.costs):
        least = min(costs_some[row], costs_most[row], costs_mirrored[row])
        chosen = some[row]
        if least < costs_some[row] and least <= EXPLAINS * cost:
            if costs_mirrored[row] == least:
                yield row, [_mirrored(rows[row], bool(there[row].any()))]
                continue
            chosen = most[row]
        if chosen.any():
            exchanged = [pair for pair, on in zip(pairs, chosen, strict=True) if on]
            yield row, _exchange_findings(rows[row], exchanged, int(there[row].sum()))


def _swapped(points: Floats, couples: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Floats:
    """`points` (M, N, d) with the two of each `chosen` (M, P) pair exchanged."""
    result = points.copy()
    for (a, b), rows in zip(couples, chosen.T, strict=True):
        result[rows, a], result[rows, b] = points[rows, b], points[rows, a]
    return result


def _exchanged(points: Floats, expected: Floats, couples: NDArray[np.int64], apart: Floats) -> NDArray[np.bool_]:
    """(M, P) whether the two points of a pair fit clearly better the other way round.

    Only pairs whose places lie farther `apart` (P,) than the usual scatter can be told.
    """
    a, b = points[:, couples[:, 0]], points[:, couples[:, 1]]
    to_a, to_b = expected[:, couples[:, 0]], expected[:, couples[:, 1]]

    def between(p: Floats, q: Floats) -> Floats:
        return np.linalg.norm(p - q, axis=-1)

    as_named = between(a, to_a) + between(b, to_b)
    other_way = between(a, to_b) + between(b, to_a)
    width = between(to_a, to_b)
    with np.errstate(invalid="ignore"):
        return (other_way < 0.5 * as_named) & (as_named > width) & (width > apart)


def _mirrored(row: Row, has_pairs: bool) -> Finding:
    or_names = ", or exchange left and right in all its names" if has_pairs else ""
    return row.finding(
        "mirrored",
        "its points are the mirror image of the other cases' shape",
        f"flip the image and its points{or_names}; if it really shows the other side, leave it out",
        level="error",
    )


def _exchange_findings(row: Row, pairs: Sequence[tuple[str, str]], of: int) -> list[Finding]:
    if len(pairs) == of and of > 1:
        return [
            row.finding(
                "left-right",
                f"left and right are exchanged in all {of} pairs",
                "exchange the names, or flip the image and its points if that is what is mirrored",
                level="error",
            )
        ]
    return [
        row.finding(
            "left-right",
            f"{a} and {b} are exchanged: each lies where the other cases have the other",
            "exchange the two names in this case",
            a,
            level="error",
        )
        for a, b in pairs
    ]
