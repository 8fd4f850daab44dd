"""Metrics of rows: radial errors, successful detection rates, systematic shift, each with its interval.

What counts: only landmarks that are present in the reference. One that is not annotated counts nowhere; one
that is present and was not found is a failure in every detection rate, is listed, and has no radial error.
`docs/evaluation.md` is the reader's side of what is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.rows import Answer, Rows

RADII = (2.0, 2.5, 3.0, 4.0)
PERCENTILES = (25, 75, 90, 95)
MOST_LISTED = 20


def checked_radii(radii: Sequence[float]) -> tuple[float, ...]:
    """The radii in order, each once; SettingsError unless they are positive numbers."""
    if not len(radii) or not all(0 < r < float("inf") for r in radii):
        raise SettingsError(f"the radii are {', '.join(map(str, radii)) or 'none'}; wanted positive lengths: 2,2.5,3,4")
    return tuple(sorted({float(r) for r in radii}))


def describe(scored: Floats, error: Floats | None = None, radii: Sequence[float] = RADII) -> dict[str, Any]:
    """What can be said of scored errors (M,), in which NaN does not count and infinity is a miss.

    `n` counts all; `mre`, `median`, `sd` (sample), `percentiles` (linear between ranks) and `bias`, the mean of the
    error vectors `error` (M, d), only the found; `sdr` is the percentage of `n` within each radius, border included.
    None stands where nothing can be said.
    """
    found = np.isfinite(scored)
    lengths = scored[found]
    counted = scored[~np.isnan(scored)]
    n, some = counted.size, lengths.size > 0
    places = np.percentile(lengths, PERCENTILES).tolist() if some else [None] * len(PERCENTILES)
    bias = None
    if error is not None:
        mean = error[found].mean(axis=0).tolist() if some else [None] * error.shape[-1]
        bias = dict(zip("xyz"[: error.shape[-1]], mean, strict=True))
    return {
        "n": int(n),
        "n_missing": int(n - lengths.size),
        "mre": float(lengths.mean()) if some else None,
        "median": float(np.median(lengths)) if some else None,
        "sd": float(lengths.std(ddof=1)) if lengths.size > 1 else None,
        "percentiles": {str(p): v for p, v in zip(PERCENTILES, places, strict=True)},
        "sdr": {f"{r:g}": float((counted <= r).mean() * 100) if n else None for r in radii},
        "bias": bias,
    }


def describe_block(
    scored: Floats,
    names: Sequence[str],
    *,
    error: Floats | None = None,
    radii: Sequence[float] = RADII,
    subjects: Sequence[str] = (),
    bootstrap: Bootstrap | None = None,
) -> dict[str, Any]:
    """`overall` and each of `landmarks` (see `describe`) of scored errors (M, N) and error vectors (M, N, d).

    With a `bootstrap` also n_subjects, mre_interval, median_interval, sdr_interval and bias_interval; `subjects` (M,)
    says whose each row is. Intervals are None where fewer than two subjects have the landmark.
    """
    flat = None if error is None else error.reshape(-1, error.shape[-1])
    blocks = [describe(scored.ravel(), flat, radii)]
    blocks += [describe(scored[:, k], None if error is None else error[:, k], radii) for k in range(len(names))]
    if bootstrap is not None:
        for block, told in zip(blocks, _intervals(scored, error, radii, subjects, bootstrap), strict=True):
            block.update(told)
    return {"overall": blocks[0], "landmarks": dict(zip(names, blocks[1:], strict=True))}


def _intervals(
    scored: Floats, error: Floats | None, radii: Sequence[float], subjects: Sequence[str], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """The intervals of all landmarks together and of each, in that order."""
    n_names = scored.shape[1]
    owner = bootstrap.index(subjects)
    counted, found = ~np.isnan(scored), np.isfinite(scored)
    people = [_people(owner, counted), *(_people(owner, counted[:, k]) for k in range(n_names))]
    axes = "xyz"[: error.shape[-1]] if error is not None else ""
    empty = {
        "mre_interval": None,
        "median_interval": None,
        "sdr_interval": dict.fromkeys(f"{r:g}" for r in radii),
        "bias_interval": dict.fromkeys(axes) if axes else None,
    }
    if not bootstrap.possible:
        return [{"n_subjects": count} | empty for count in people]

    def brought(values: Floats) -> Floats:
        """(S, 1 + N) what each subject brings to all landmarks together and to each."""
        each = np.zeros((len(bootstrap.subjects), n_names))
        np.add.at(each, owner, values)
        return np.column_stack([each.sum(axis=1), each])

    vectors = [] if error is None else [np.where(found, error[..., a], 0) for a in range(len(axes))]
    parts = [counted, found, np.where(found, scored, 0), *(counted & (scored <= r) for r in radii), *vectors]
    summed = bootstrap.sums(np.concatenate([brought(part) for part in parts], axis=1))
    n, n_found, *sums = np.split(summed, len(parts), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = bootstrap.interval(np.stack([sums[0] / n_found, *(v / n_found for v in sums[1 + len(radii) :])], -1))
        rates = bootstrap.interval(np.stack([within / n * 100 for within in sums[1 : 1 + len(radii)]], -1))
    told = []
    for k, count in enumerate(people):
        if count < 2:
            told.append({"n_subjects": count} | empty)
            continue
        where = found if k == 0 else found[:, [k - 1]]
        values = (scored if k == 0 else scored[:, [k - 1]])[where]
        medians = bootstrap.quantiles(values, np.broadcast_to(owner[:, None], where.shape)[where], 0.5)
        told.append(
            {
                "n_subjects": count,
                "mre_interval": limits(means[:, k, 0]),
                "median_interval": limits(bootstrap.interval(medians)),
                "sdr_interval": {f"{r:g}": limits(rates[:, k, i]) for i, r in enumerate(radii)},
                "bias_interval": {a: limits(means[:, k, 1 + i]) for i, a in enumerate(axes)} if axes else None,
            }
        )
    return told


def _people(owner: Any, counted: Any) -> int:
    """How many subjects have something that counts."""
    return int(np.unique(owner[counted if counted.ndim == 1 else counted.any(axis=1)]).size)


def limits(interval: Floats) -> list[float] | None:
    """[lower, upper], None where there is none."""
    return None if np.isnan(interval).any() else [float(v) for v in interval]


def missing(rows: Rows) -> list[dict[str, str]]:
    """Case, landmark and reason of every present reference landmark that was not found."""
    reasons = {Answer.MISSING: "no prediction", Answer.ABSENT: "said absent"}
    where = np.argwhere(rows.counted & ~rows.found).tolist()
    return [
        {"case": rows.cases[i], "landmark": rows.names[k], "reason": reasons[Answer(rows.answers[i, k])]}
        for i, k in where
    ]


def worst(rows: Rows, most: int = MOST_LISTED) -> list[dict[str, Any]]:
    """Case, landmark and radial error of the largest errors among the found, the largest first."""
    radial = np.where(rows.found, rows.radial, -1.0).ravel()
    order = np.argsort(-radial, kind="stable")[:most].tolist()
    size = len(rows.names)
    return [
        {"case": rows.cases[i // size], "landmark": rows.names[i % size], "radial_error": float(radial[i])}
        for i in order
        if radial[i] >= 0
    ]


def cumulative(scored: Floats, radii: Sequence[float] = RADII, points: int = 201) -> dict[str, list[float]]:
    """The cumulative error distribution: percent of what counts that lies within each of `points` radii.

    The radii go evenly from 0 to the 98th percentile of the found errors or the largest of `radii`, whichever is
    more, and a tenth beyond. Misses never reach.
    """
    counted = np.sort(scored[~np.isnan(scored)])
    found = counted[np.isfinite(counted)]
    reach = 1.1 * max(*radii, float(np.quantile(found, 0.98)) if found.size else 0.0, 0.0)
    radius = np.linspace(0, reach, points)
    within = np.searchsorted(counted, radius, side="right") / max(counted.size, 1) * 100
    return {"radius": radius.round(4).tolist(), "percent": within.round(4).tolist() if counted.size else []}
