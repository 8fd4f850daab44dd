"""Metrics of rows: radial errors, successful detection rates, systematic shift, each with its interval.

What counts: only landmarks that are present in the reference. One that is not annotated is ignored; one that is present
and was missed is a failure in every detection rate, is listed, and has no radial error.
`docs/evaluation.md` explains the same to readers of the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.result import Interval, Result
from anatomark.evaluation.rows import Answer, Rows

RADII = (2.0, 2.5, 3.0, 4.0)
PERCENTILES = (25, 75, 90, 95)
MOST_LISTED = 20
_TOGETHER = 1 << 22  # up to so many totals of subjects are held at once


@dataclass(frozen=True)
class ErrorScores(Result):
    """Radial errors of `n` reference landmarks, lengths in the unit of the data; None where there is nothing to score.

    `mre` (mean), `median`, `sd` (sample) and `percentiles` {"25": length} are of those found, `bias` {"x": length} is
    their mean error vector; `sdr` {radius: percent of `n` within it}. Intervals are by subject, of `n_subjects`; None
    where fewer than two have the landmark, or without resamples.
    """

    n: int
    n_missing: int
    mre: float | None
    median: float | None
    sd: float | None
    percentiles: Mapping[str, float | None]
    sdr: Mapping[str, float | None]
    bias: Mapping[str, float | None] | None
    n_subjects: int | None = None
    mre_interval: Interval | None = None
    median_interval: Interval | None = None
    sdr_interval: Mapping[str, Interval | None] | None = None
    bias_interval: Mapping[str, Interval | None] | None = None


@dataclass(frozen=True)
class ScoreTable(Result):
    """The scores of all landmarks together, and of each by its name."""

    overall: ErrorScores
    landmarks: Mapping[str, ErrorScores]


@dataclass(frozen=True)
class MissedLandmark(Result):
    """A landmark that is present in the reference and was not found; `reason` in words."""

    case: str
    landmark: str
    reason: str


@dataclass(frozen=True)
class LargeError(Result):
    """One of the largest radial errors, a length in the unit of the data."""

    case: str
    landmark: str
    radial_error: float


@dataclass(frozen=True)
class CumulativeErrors(Result):
    """The cumulative error distribution: `percent` of what counts within each `radius`, in the unit of the data."""

    radius: Sequence[float]
    percent: Sequence[float]


def checked_radii(radii: Sequence[float]) -> tuple[float, ...]:
    """The radii in order, each once; SettingsError unless they are positive numbers."""
    if not len(radii) or not all(0 < r < float("inf") for r in radii):
        listed = ", ".join(map(str, radii)) or "none"
        raise SettingsError(f"the radii are {listed}; give positive lengths such as 2,2.5,3,4")
    return tuple(sorted({float(r) for r in radii}))


def describe(scored: Floats, error: Floats | None = None, radii: Sequence[float] = RADII) -> ErrorScores:
    """The scores, without intervals, of radial errors (M,), in which NaN does not count and infinity is a miss.

    `percentiles` are linear between ranks; `bias` is the mean of the error vectors `error` (M, d) of those found; a
    detection rate includes its radius.
    """
    found = np.isfinite(scored)
    lengths = scored[found]
    counted = scored[~np.isnan(scored)]
    n, any_found = counted.size, lengths.size > 0
    values = np.percentile(lengths, PERCENTILES).tolist() if any_found else [None] * len(PERCENTILES)
    bias = None
    if error is not None:
        mean = error[found].mean(axis=0).tolist() if any_found else [None] * error.shape[-1]
        bias = dict(zip("xyz"[: error.shape[-1]], mean, strict=True))
    return ErrorScores(
        n=int(n),
        n_missing=int(n - lengths.size),
        mre=float(lengths.mean()) if any_found else None,
        median=float(np.median(lengths)) if any_found else None,
        sd=float(lengths.std(ddof=1)) if lengths.size > 1 else None,
        percentiles={str(p): v for p, v in zip(PERCENTILES, values, strict=True)},
        sdr={f"{r:g}": float((counted <= r).mean() * 100) if n else None for r in radii},
        bias=bias,
    )


def describe_landmarks(
    scored: Floats,
    names: Sequence[str],
    *,
    error: Floats | None = None,
    radii: Sequence[float] = RADII,
    subjects: Sequence[str] = (),
    bootstrap: Bootstrap | None = None,
) -> ScoreTable:
    """The scores (see `describe`) of radial errors (M, N) and error vectors (M, N, d) of N landmarks.

    With a `bootstrap` also n_subjects and the intervals; `subjects` (M,) says whose each row is.
    """
    flat = None if error is None else error.reshape(-1, error.shape[-1])
    scores = [describe(scored.ravel(), flat, radii)]
    scores += [describe(scored[:, k], None if error is None else error[:, k], radii) for k in range(len(names))]
    if bootstrap is not None:
        scores = _with_intervals(scores, scored, error, radii, subjects, bootstrap)
    return ScoreTable(scores[0], dict(zip(names, scores[1:], strict=True)))


def _with_intervals(
    scores: Sequence[ErrorScores],
    scored: Floats,
    error: Floats | None,
    radii: Sequence[float],
    subjects: Sequence[str],
    bootstrap: Bootstrap,
) -> list[ErrorScores]:
    """The scores of all landmarks together and of each, with the intervals of each."""
    owner = bootstrap.index(subjects)
    counted, found = ~np.isnan(scored), np.isfinite(scored)
    n_subjects = [_count_subjects(owner, counted)]
    n_subjects += [_count_subjects(owner, counted[:, [k]]) for k in range(len(scores) - 1)]
    axes = "xyz"[: error.shape[-1]] if error is not None else ""
    without = [
        replace(
            score,
            n_subjects=count,
            sdr_interval=dict.fromkeys(f"{r:g}" for r in radii),
            bias_interval=dict.fromkeys(axes) if axes else None,
        )
        for score, count in zip(scores, n_subjects, strict=True)
    ]
    if not bootstrap.possible:
        return without
    means, rates = _resampled_means(scored, error, radii, owner, bootstrap)
    complete = []
    for k, score in enumerate(without):
        if n_subjects[k] < 2:
            complete.append(score)
            continue
        where = found if k == 0 else found[:, [k - 1]]
        values = (scored if k == 0 else scored[:, [k - 1]])[where]
        medians = bootstrap.quantiles(values, np.broadcast_to(owner[:, None], where.shape)[where], 0.5)
        complete.append(
            replace(
                score,
                mre_interval=interval_of(means[:, k, 0]),
                median_interval=interval_of(bootstrap.interval(medians)),
                sdr_interval={f"{r:g}": interval_of(rates[:, k, i]) for i, r in enumerate(radii)},
                bias_interval={a: interval_of(means[:, k, 1 + i]) for i, a in enumerate(axes)} if axes else None,
            )
        )
    return complete


def _resampled_means(
    scored: Floats, error: Floats | None, radii: Sequence[float], owner: NDArray[np.intp], bootstrap: Bootstrap
) -> tuple[Floats, Floats]:
    """Limits (2, 1 + N, 1 + d) of the mean error and its vector, and (2, 1 + N, R) of the rates, all together first."""
    counted, found = ~np.isnan(scored), np.isfinite(scored)

    def subject_totals(values: NDArray[np.generic]) -> Floats:
        """(S, 1 + N) the sum over each subject's rows of values (M, N), of all landmarks together and of each."""
        each = np.zeros((len(bootstrap.subjects), scored.shape[1]))
        np.add.at(each, owner, values)
        return np.column_stack([each.sum(axis=1), each])

    def parts() -> Iterator[NDArray[np.generic]]:
        yield from (counted, found, np.where(found, scored, 0))
        yield from (counted & (scored <= r) for r in radii)
        if error is not None:
            yield from (np.where(found, error[..., a], 0) for a in range(error.shape[-1]))

    count = 3 + len(radii) + (0 if error is None else error.shape[-1])
    if len(bootstrap.subjects) * (1 + scored.shape[1]) * count <= _TOGETHER:
        summed = bootstrap.sums(np.concatenate([subject_totals(part) for part in parts()], axis=1))
        n, n_found, *sums = np.split(summed, count, axis=1)
    else:
        n, n_found, *sums = [bootstrap.sums(subject_totals(part)) for part in parts()]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = bootstrap.interval(np.stack([sums[0] / n_found, *(v / n_found for v in sums[1 + len(radii) :])], -1))
        rates = bootstrap.interval(np.stack([within / n * 100 for within in sums[1 : 1 + len(radii)]], -1))
    return means, rates


def _count_subjects(owner: NDArray[np.intp], counted: NDArray[np.bool_]) -> int:
    """How many subjects have something that counts in (M, N)."""
    return int(np.unique(owner[counted.any(axis=1)]).size)


def interval_of(limits: Floats) -> Interval | None:
    """(lower, upper) of limits (2,), None where they are not known."""
    return None if np.isnan(limits).any() else (float(limits[0]), float(limits[1]))


def missed_landmarks(rows: Rows) -> list[MissedLandmark]:
    """Every landmark that is present in the reference and was not found."""
    reasons = {Answer.MISSING: "no prediction", Answer.ABSENT: "said absent"}
    where = np.argwhere(rows.counted & ~rows.found).tolist()
    return [MissedLandmark(rows.cases[i], rows.names[k], reasons[Answer(rows.answers[i, k])]) for i, k in where]


def largest_errors(rows: Rows, most: int = MOST_LISTED) -> list[LargeError]:
    """The largest radial errors of landmarks that were found, the largest first."""
    radial = np.where(rows.found, rows.radial, -1.0).ravel()
    order = np.argsort(-radial, kind="stable")[:most].tolist()
    size = len(rows.names)
    return [LargeError(rows.cases[i // size], rows.names[i % size], float(radial[i])) for i in order if radial[i] >= 0]


def cumulative(scored: Floats, radii: Sequence[float] = RADII, points: int = 201) -> CumulativeErrors:
    """The cumulative error distribution: percent of what counts that lies within each of `points` radii.

    The radii go evenly from 0 to the 98th percentile of the errors found or the largest of `radii`, whichever is more,
    and a tenth beyond. Misses never reach.
    """
    counted = np.sort(scored[~np.isnan(scored)])
    found = counted[np.isfinite(counted)]
    reach = 1.1 * max(*radii, float(np.quantile(found, 0.98)) if found.size else 0.0, 0.0)
    radius = np.linspace(0, reach, points)
    within = np.searchsorted(counted, radius, side="right") / max(counted.size, 1) * 100
    return CumulativeErrors(radius.round(4).tolist(), within.round(4).tolist() if counted.size else [])
