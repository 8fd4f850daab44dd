"""Coverage: whether errors stayed below their bounds, and landmarks were present, as often as was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anatomark.core.landmarks import State
from anatomark.ensemble import read_cards
from anatomark.errors import UnknownNameError
from anatomark.evaluation.bootstrap import Bootstrap
from anatomark.evaluation.result import Interval, Result
from anatomark.evaluation.rows import Rows
from anatomark.methods.error_bound import COVERAGE, ErrorBounds

BINS = 10  # of presence probabilities, equally wide
CURVE_STEP = 5  # percent between the levels of the reliability curve


class HasBounds(Protocol):
    """A trained model, as far as its error bounds are concerned."""

    @property
    def bounds(self) -> ErrorBounds: ...


BoundsSource = HasBounds | ErrorBounds | Path | str
"""A trained model, its bounds, or its run folder."""


@dataclass(frozen=True)
class LevelCoverage(Result):
    """Percent of errors within bounds that were made for `nominal` percent."""

    nominal: float
    observed: float


@dataclass(frozen=True)
class PresenceBin(Result):
    """`n` landmarks of similar presence: the mean that was predicted and how often they were present, in percent."""

    predicted: float
    observed: float
    n: int


@dataclass(frozen=True)
class Coverage(Result):
    """Percent of errors within their bounds, `overall` and by `landmarks`; `nominal`, the level asked, is 0 to 1.

    `mean_bound`, in the unit of the data, is of the `n` judged. `withheld` is {landmark: why it has no bound}; `curve`
    and `presence_curve` are None where there is nothing to draw.
    """

    nominal: float
    overall: float
    overall_interval: Interval | None
    landmarks: Mapping[str, float | None]
    mean_bound: float
    n: int
    calibrated_by: str
    withheld: Mapping[str, str]
    curve: Sequence[LevelCoverage] | None
    presence_curve: Sequence[PresenceBin] | None


def coverage(
    rows: Rows,
    bounds: ErrorBounds | None,
    *,
    nominal: float = COVERAGE,
    bootstrap: Bootstrap | None = None,
) -> tuple[Coverage | None, str | None]:
    """The coverage, or None and the reason.

    Judged are all present reference landmarks with a predicted point and a bound, also those predicted to be absent: a
    bound is for a landmark that is present. Bounds are those that `bounds` make of the rows' spread at `nominal`, and
    for the `curve` at its other levels; without `bounds`, those of the predictions, which are taken to be made for
    `nominal`, and no curve. A bound that the predictions withhold is not judged. `overall_interval` is by subject.
    """
    candidates = rows.counted & np.isfinite(rows.radial) & ~rows.withheld
    limit = rows.bound
    if bounds is not None:
        bounds = bounds.select(rows.names)
        if not np.isfinite(rows.spread[rows.counted & np.isfinite(rows.radial)]).any():
            return None, "the predictions hold no spread, which bounds are made from"
        limit = bounds.bound(rows.spread, nominal)
    judged = candidates & np.isfinite(limit)
    if not judged.any():
        return None, _reason_for_nothing(rows, bounds, nominal)
    inside = judged & (np.where(judged, rows.radial, 0) <= np.where(judged, limit, 0))
    count = judged.sum(axis=0)
    percent = np.where(count > 0, inside.sum(axis=0) / np.maximum(count, 1) * 100, np.nan)
    reasons = {} if bounds is None else {name: bounds.reason(name, nominal) for name in rows.names}
    found = Coverage(
        nominal=nominal,
        overall=float(inside.sum() / judged.sum() * 100),
        overall_interval=None if bootstrap is None else _interval(bootstrap, rows, inside, judged),
        landmarks={name: None if np.isnan(p) else float(p) for name, p in zip(rows.names, percent, strict=True)},
        mean_bound=float(limit[judged].mean()),
        n=int(judged.sum()),
        calibrated_by="the predictions' own bounds" if bounds is None else bounds.source,
        withheld={name: reason for name, reason in reasons.items() if reason is not None},
        curve=None if bounds is None else _curve(rows, candidates, bounds),
        presence_curve=presence_curve(rows),
    )
    return found, None


def _reason_for_nothing(rows: Rows, bounds: ErrorBounds | None, nominal: float) -> str:
    """Why there is no bound to judge."""
    if bounds is None:
        if rows.withheld.any():
            return "the predictions withhold their error bounds"
        return "no error bound is in the predictions, and no model was given to make them"
    reason = bounds.reason(rows.names[0], nominal)
    if reason is None and rows.withheld.any():
        return "the predictions withhold their error bounds"
    return f"the model's bounds are withheld: {reason or 'no landmark with a bound is present in the reference'}"


def coverage_by_model(
    rows: Rows,
    model: BoundsSource | None,
    *,
    nominal: float = COVERAGE,
    bootstrap: Bootstrap | None = None,
) -> tuple[Coverage | None, str | None]:
    """The coverage of a model's bounds, or None and the reason; without a `model`, of the predictions' own.

    Raises ModelError for a folder that is not a finished run, UnknownNameError for a model that finds none of the
    landmarks.
    """
    bounds = None if model is None else bounds_of(model)
    if bounds is not None and not set(bounds.names) & set(rows.names):
        raise UnknownNameError(
            f"the model finds {bounds.names[0]!r} and others, but the data set has {rows.names[0]!r}; give the model "
            "that made the predictions"
        )
    if bounds is not None and bounds.expected is not None and bounds.unit != rows.unit:
        return None, f"the model's bounds are in {bounds.unit}, the data in {rows.unit}"
    return coverage(rows, bounds, nominal=nominal, bootstrap=bootstrap)


def with_bounds(rows: Rows, model: BoundsSource, *, nominal: float = COVERAGE) -> Rows:
    """The rows with bounds by the `model` where the predictions came without; as they are where it has none of use.

    A bound that the predictions withhold stays withheld: the model did not trust itself with that image.
    """
    bounds = bounds_of(model)
    if bounds.unit != rows.unit or not set(bounds.names) & set(rows.names):
        return rows
    made = bounds.select(rows.names).bound(rows.spread, nominal)
    own = np.isfinite(rows.bound) | rows.withheld
    return replace(rows, bound=np.where(own, rows.bound, made))


def bounds_of(model: BoundsSource) -> ErrorBounds:
    """The bounds of a model, or those in a run folder; networks are not loaded. ModelError where there is no run."""
    if isinstance(model, ErrorBounds):
        return model
    if not isinstance(model, Path | str):
        return model.bounds

    folder = Path(model)
    card = read_cards(folder)[0]
    return ErrorBounds.load(folder, card.landmarks, card.unit)


def presence_curve(rows: Rows) -> list[PresenceBin] | None:
    """Bins of presence, over all annotated rows that have one.

    None where there is none, or where no landmark is absent: every presence is right then.
    """
    known = (rows.states != State.NOT_ANNOTATED) & np.isfinite(rows.presence)
    predicted, present = rows.presence[known], rows.states[known] == State.PRESENT
    if not predicted.size or present.all():
        return None
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    return [
        PresenceBin(float(predicted[at].mean() * 100), float(present[at].mean() * 100), int(at.sum()))
        for at in (bins == b for b in range(BINS))
        if at.any()
    ]


def _curve(rows: Rows, candidates: NDArray[np.bool_], bounds: ErrorBounds) -> list[LevelCoverage]:
    """Observed coverage at every CURVE_STEP percent, of the landmarks that have a bound at the level."""
    curve = []
    for level in bounds.levels:
        if round(level * 100) % CURVE_STEP == 0:
            limit = bounds.bound(rows.spread, level)
            judged = candidates & np.isfinite(limit)
            if judged.any():
                observed = float((rows.radial[judged] <= limit[judged]).mean() * 100)
                curve.append(LevelCoverage(round(level * 100, 6), observed))
    return curve


def _interval(
    bootstrap: Bootstrap, rows: Rows, inside: NDArray[np.bool_], judged: NDArray[np.bool_]
) -> Interval | None:
    """The interval of the percentage of `judged` rows (C, N) that are `inside`, by subject."""
    if not bootstrap.possible:
        return None
    counts = np.column_stack([inside.sum(axis=1), judged.sum(axis=1)])
    sums = bootstrap.sums(bootstrap.totals(counts, rows.subjects))
    sums = sums[sums[:, 1] > 0]
    lower, upper = bootstrap.interval(sums[:, 0] / sums[:, 1] * 100)
    return float(lower), float(upper)
