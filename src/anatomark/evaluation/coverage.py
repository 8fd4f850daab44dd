"""Coverage: whether errors stayed below their bounds, and landmarks were there, as often as was promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Floats
from anatomark.core.landmarks import State
from anatomark.errors import UnknownNameError
from anatomark.evaluation.rows import Rows
from anatomark.methods.error_bound import COVERAGE, ErrorBounds

if TYPE_CHECKING:
    from anatomark.ensemble import Ensemble
    from anatomark.evaluation.bootstrap import Bootstrap
    from anatomark.model import Model

BINS = 10  # of presence probabilities, equally wide
CURVE = 5  # percent between the levels of the reliability curve


def coverage(
    rows: Rows,
    bounds: ErrorBounds | None,
    *,
    nominal: float = COVERAGE,
    bootstrap: Bootstrap | None = None,
) -> tuple[dict[str, Any] | None, str | None]:
    """The "coverage" of metrics, or None and the reason; shares are percent, but `nominal` is a share.

    Judged are all present reference landmarks with a predicted point and a bound, also those said to be absent: a bound
    is promised for a landmark that is there. Bounds are those that `bounds` make of the rows' spread at `nominal`, and
    for the `curve` at its other levels; without `bounds`, those of the predictions, which are taken to be made for
    `nominal`, and no curve. `overall_interval` is resampled by subject.
    """
    known = rows.counted & np.isfinite(rows.radial)
    limit = rows.bound
    if bounds is not None:
        bounds = bounds.select(rows.names)
        if not np.isfinite(rows.spread[known]).any():
            return None, "the predictions hold no spread, which bounds are made from"
        limit = bounds.bound(rows.spread, nominal)
    judged = known & np.isfinite(limit)
    if not judged.any():
        if bounds is None:
            return None, "no error bound is in the predictions, and no model was given to make them"
        reason = bounds.reason(rows.names[0], nominal) or "no landmark with a bound is present in the reference"
        return None, f"the model's bounds are withheld: {reason}"
    inside = judged & (np.where(judged, rows.radial, 0) <= np.where(judged, limit, 0))
    share = _percent(inside, judged)
    found = {
        "nominal": nominal,
        "overall": float(inside.sum() / judged.sum() * 100),
        "overall_interval": None if bootstrap is None else _interval(bootstrap, rows, inside, judged),
        "landmarks": {name: None if np.isnan(s) else float(s) for name, s in zip(rows.names, share, strict=True)},
        "mean_bound": float(limit[judged].mean()),
        "n": int(judged.sum()),
        "calibrated_by": "the predictions' own bounds" if bounds is None else bounds.source,
        "withheld": {},
        "curve": None,
        "presence_curve": presence_curve(rows),
    }
    if bounds is not None:
        reasons = {name: bounds.reason(name, nominal) for name in rows.names}
        found["withheld"] = {name: reason for name, reason in reasons.items() if reason is not None}
        found["curve"] = _curve(rows, known, bounds)
    return found, None


def coverage_part(
    rows: Rows,
    model: Model | Ensemble | ErrorBounds | Path | str | None,
    *,
    nominal: float = COVERAGE,
    bootstrap: Bootstrap | None = None,
) -> dict[str, Any]:
    """{"coverage", "coverage_note"} for the metrics; `model` is what has bounds, or a run folder.

    Raises ModelError for a folder that is no finished run, UnknownNameError for a model that finds none of the
    landmarks.
    """
    bounds = None if model is None else bounds_of(model)
    if bounds is not None and not set(bounds.names) & set(rows.names):
        raise UnknownNameError(f"the model finds {bounds.names[0]!r} and others, the data set has {rows.names[0]!r}")
    if bounds is not None and bounds.expected is not None and bounds.unit != rows.unit:
        return {"coverage": None, "coverage_note": f"the model's bounds are in {bounds.unit}, the data in {rows.unit}"}
    found, note = coverage(rows, bounds, nominal=nominal, bootstrap=bootstrap)
    return {"coverage": found, "coverage_note": note}


def with_bounds(rows: Rows, model: Model | Ensemble | ErrorBounds | Path | str, *, nominal: float = COVERAGE) -> Rows:
    """The rows with bounds by the `model` where the predictions came without; as they are where it has none of use."""
    bounds = bounds_of(model)
    if bounds.unit != rows.unit or not set(bounds.names) & set(rows.names):
        return rows
    made = bounds.select(rows.names).bound(rows.spread, nominal)
    return replace(rows, bound=np.where(np.isfinite(rows.bound), rows.bound, made))


def bounds_of(model: Model | Ensemble | ErrorBounds | Path | str) -> ErrorBounds:
    """The bounds of a model, or those in a run folder; networks are not loaded. ModelError where there is no run."""
    from anatomark.card import read_card
    from anatomark.ensemble import NAME

    if isinstance(model, ErrorBounds):
        return model
    if not isinstance(model, Path | str):
        return model.bounds
    folder = Path(model)
    card = read_card(folder / "fold1" if (folder / NAME).exists() else folder)
    return ErrorBounds.load(folder, card.landmarks, card.unit)


def presence_curve(rows: Rows) -> list[dict[str, Any]] | None:
    """[{"predicted", "observed", "n"}] for bins of presence: the mean that was said and how often it was true, percent.

    Over all annotated rows with a presence; None where there is none, or no landmark is absent: nothing was at stake.
    """
    known = (rows.states != State.NOT_ANNOTATED) & np.isfinite(rows.presence)
    said, true = rows.presence[known], rows.states[known] == State.PRESENT
    if not said.size or true.all():
        return None
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    return [
        {"predicted": float(said[at].mean() * 100), "observed": float(true[at].mean() * 100), "n": int(at.sum())}
        for at in (bins == b for b in range(BINS))
        if at.any()
    ]


def _curve(rows: Rows, known: Any, bounds: ErrorBounds) -> list[dict[str, float]]:
    """Observed coverage at every CURVE percent, of the landmarks that have a bound at the level."""
    curve = []
    for level in bounds.levels:
        if round(level * 100) % CURVE == 0:
            limit = bounds.bound(rows.spread, level)
            judged = known & np.isfinite(limit)
            if judged.any():
                observed = float((rows.radial[judged] <= limit[judged]).mean() * 100)
                curve.append({"nominal": round(level * 100, 6), "observed": observed})
    return curve


def _percent(inside: Any, judged: Any) -> Floats:
    """(N,) percent of the judged rows that are inside; NaN where none is judged."""
    count = judged.sum(axis=0)
    return np.where(count > 0, inside.sum(axis=0) / np.maximum(count, 1) * 100, np.nan)


def _interval(bootstrap: Bootstrap, rows: Rows, inside: Any, judged: Any) -> list[float] | None:
    if not bootstrap.possible:
        return None
    brought = np.zeros((len(bootstrap.subjects), 2))
    np.add.at(brought, bootstrap.index(rows.subjects), np.column_stack([inside.sum(axis=1), judged.sum(axis=1)]))
    sums = bootstrap.sums(brought)
    sums = sums[sums[:, 1] > 0]
    return [float(v) for v in bootstrap.interval(sums[:, 0] / sums[:, 1] * 100)]
